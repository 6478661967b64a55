-- lua-redis: see test_clients.py.
local redis = require "redis"
local path, good, none = arg[1], arg[2], arg[3]

redis.commands.check = redis.command("CHECK")

local function say(step, answers)
    local words = { step }
    for _, answer in ipairs(answers) do
        for _, word in ipairs(answer) do words[#words + 1] = word end
    end
    print(table.concat(words, " "))
    io.stdout:flush()
end

local function ask(client)
    return { client:check(good), client:check(none) }
end

local function both(batch)
    batch:check(good)
    batch:check(none)
end

local client = redis.connect({ scheme = "unix", path = path })
print("version " .. redis._VERSION:match("[%d.]+"))
say("defaults", ask(client))
say("pipeline", client:pipeline(both))
say("transaction", client:transaction(both))
say("url", ask(redis.connect("unix://" .. path)))
print("ready")
io.stdout:flush()
io.read()
say("again", ask(redis.connect({ scheme = "unix", path = path })))
