<?php
/* phpredis: see test_clients.py. */

[, $path, $good, $none] = $argv;

function say(string $step, array $answers): void
{
    echo $step, ' ', implode(' ', array_merge(...$answers)), "\n";
}

function ask(Redis $redis): array
{
    global $good, $none;
    return array_map(fn($key) => $redis->rawCommand('CHECK', $key), [$good, $none]);
}

function together(Redis $batch): array
{
    global $good, $none;
    return $batch->rawCommand('CHECK', $good)->rawCommand('CHECK', $none)->exec();
}

$redis = new Redis();
$redis->connect($path);
echo 'version ', phpversion('redis'), "\n";
say('defaults', ask($redis));
say('transaction', together($redis->multi()));
say('pipeline', together($redis->multi(Redis::PIPELINE)));

$other = new Redis();
$other->pconnect($path);
$other->auth(['default', 'any']);
$other->select(0);
say('password', ask($other));

echo "ready\n";
fgets(STDIN);
for ($end = time() + 60; ; usleep(10000)) {
    try {
        say('again', ask($redis));
        break;
    } catch (RedisException $error) {
        if (time() > $end) {
            throw $error;
        }
    }
}
