-- Asks apikeyd about a request, for "http-request lua.apikeyd"; see docs/gateways.md.
--
-- It sets txn.apikeyd.status to 200, 400, 401, 403 or 503, and with 200 also txn.apikeyd.user_id
-- and txn.apikeyd.key_id. Attributes of the key ([postgres] attribute_columns) become fields of the
-- request, X-Api-Key-<Name>; haproxy.cfg has removed a client's own.

local SOCKET = "unix@/run/apikeyd/http.sock"
local FIELDS = {"x-api-key"} -- those that [http] key_from reads, in lower case

local function ask(fields)
    local client = core.httpclient()
    return client:get{
        url = "http://apikeyd/authorize",
        dst = SOCKET,
        headers = fields,
        timeout = 2000,
    }
end

core.register_action("apikeyd", {"http-req"}, function(txn)
    local sent = txn.http:req_get_headers()
    -- For a key in the query: [http] key_from = query:api_key@X-Original-URI.
    local fields = {["x-original-uri"] = {txn.sf:pathq()}}
    local status, user_id, key_id = 503, "", ""

    for _, name in ipairs(FIELDS) do
        local values = {}

        -- All of them: apikeyd refuses two keys. HAProxy counts from 0.
        for i = 0, sent[name] and #sent[name] or -1 do
            values[#values + 1] = sent[name][i]
        end
        fields[name] = values
    end
    local asked, reply = pcall(ask, fields)
    if asked and reply then
        status = reply.status
        if status == 200 then
            user_id = reply.headers["x-user-id"][0]
            key_id = reply.headers["x-api-key-id"][0]
            for name, values in pairs(reply.headers) do
                if name:find("^x%-api%-key%-") and values[0] ~= "" then
                    txn.http:req_set_header(name, values[0])
                end
            end
        elseif status ~= 400 and status ~= 401 and status ~= 403 then
            status = 503
        end
    end
    txn:set_var("txn.apikeyd.status", status)
    txn:set_var("txn.apikeyd.user_id", user_id)
    txn:set_var("txn.apikeyd.key_id", key_id)
end)
