# redis-rb: see test_clients.py.
require 'redis'

path, good, none = ARGV
REQUESTS = [['CHECK', good], ['CHECK', none]].freeze
$stdout.sync = true

def say(step, answers)
  puts([step, *answers.flatten].join(' '))
end

def ask(client)
  REQUESTS.map { |request| client.call(*request) }
end

client = Redis.new(path: path)
puts "version #{Redis::VERSION}"
say 'defaults', ask(client)
say 'pipeline', client.pipelined { |batch| REQUESTS.each { |request| batch.call(*request) } }
say 'transaction', client.multi { |batch| REQUESTS.each { |request| batch.call(*request) } }
say 'url', ask(Redis.new(url: "unix://#{path}", password: 'any', username: 'default', id: 'gateway'))
say 'pool', Array.new(8) { Thread.new { ask(Redis.new(path: path)) } }.map(&:value).last
puts 'ready'
$stdin.gets
say 'again', ask(client)
