-- Asks apikeyd about a request, for "http-request lua.apikeyd"; see docs/gateways.md.
--
-- It sets txn.apikeyd.status to 200, 400, 401, 403 or 503, and with 200 also txn.apikeyd.user_id
-- and txn.apikeyd.key_id.

local SOCKET = "unix@/run/apikeyd/http.sock"
local HEADER = "x-api-key" -- [http] key_header, in lower case

local function ask(values)
    local client = core.httpclient()
    return client:get{
        url = "http://apikeyd/authorize",
        dst = SOCKET,
        headers = {[HEADER] = values},
        timeout = 2000,
    }
end

core.register_action("apikeyd", {"http-req"}, function(txn)
    local found = txn.http:req_get_headers()[HEADER]
    local values = {}
    local status, user_id, key_id = 503, "", ""

    -- All of them: apikeyd refuses two. HAProxy counts from 0.
    if found then
        for i = 0, #found do
            values[#values + 1] = found[i]
        end
    end
    local asked, reply = pcall(ask, values)
    if asked and reply then
        status = reply.status
        if status == 200 then
            user_id = reply.headers["x-user-id"][0]
            key_id = reply.headers["x-api-key-id"][0]
        elseif status ~= 400 and status ~= 401 and status ~= 403 then
            status = 503
        end
    end
    txn:set_var("txn.apikeyd.status", status)
    txn:set_var("txn.apikeyd.user_id", user_id)
    txn:set_var("txn.apikeyd.key_id", key_id)
end)
