// go-redis: see test_clients.py.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"gopkg.in/redis.v5"
)

const library = "golang-gopkg-redis.v5-dev"

type server interface {
	Process(redis.Cmder) error
}

// The two requests, through a client or a pipeline.
func ask(to server) []*redis.SliceCmd {
	cmds := []*redis.SliceCmd{redis.NewSliceCmd("CHECK", os.Args[2]), redis.NewSliceCmd("CHECK", os.Args[3])}
	for _, cmd := range cmds {
		to.Process(cmd)
	}
	return cmds
}

func say(step string, cmds []*redis.SliceCmd) {
	words := []string{step}
	for _, cmd := range cmds {
		answer, err := cmd.Result()
		if err != nil {
			words = append(words, err.Error())
		}
		for _, word := range answer {
			words = append(words, fmt.Sprint(word))
		}
	}
	fmt.Println(strings.Join(words, " "))
}

func within(batched func(func(*redis.Pipeline) error) ([]redis.Cmder, error)) (cmds []*redis.SliceCmd) {
	batched(func(batch *redis.Pipeline) error {
		cmds = ask(batch)
		return nil
	})
	return cmds
}

// Eight requests at a time through the client's pool.
func pool(client *redis.Client) (cmds []*redis.SliceCmd) {
	answers := make([][]*redis.SliceCmd, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			answers[i] = ask(client)
		}(i)
	}
	all.Wait()
	return answers[len(answers)-1]
}

func main() {
	version, _ := exec.Command("dpkg-query", "-W", "-f", "${Version}", library).Output()
	fmt.Println("version", strings.Split(string(version), "-")[0])
	options := redis.Options{Network: "unix", Addr: os.Args[1]}
	once := redis.NewClient(&options)
	options.MaxRetries = 1 // for the restart: this release tries a command once
	client := redis.NewClient(&options)
	say("defaults", ask(once))
	say("pipeline", within(client.Pipelined))
	say("transaction", within(client.TxPipelined))
	say("pool", pool(once))
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	say("again", ask(client))
}
