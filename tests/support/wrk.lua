-- What wrk asks for, and where it notes what came of it: of each thread, whose only connection has one request under way, a file
-- with a line for each answer that is no rejection, "INTENT_NS OUTCOME_NS PATH STATUS SOURCE"; PATH is the path's number. At the
-- end a file "sum": "REJECTED CONNECT_ERRORS TIMEOUTS". See wrk.h.
--
--     wrk ... -s wrk.lua URL -- FOLDER DELAY_MS SEED WEIGHT PATH...      how often each path is asked for, of all their weights

local ffi = require("ffi")

ffi.cdef [[
	struct stint_timespec { long sec, nsec; };
	int clock_gettime(int clock, struct stint_timespec *now);
]]

local CLOCK_MONOTONIC = 1
local REJECTED = 429
local threads = {}

-- Those of one thread are global: wrk calls them, and `done` asks for the number of rejections.
rejected = 0
local now = ffi.new("struct stint_timespec")
local requests, draws, delay_ms, notes, path, intent = {}, {}, 0, nil, 0, nil

local function clock()
	ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
	return string.format("%d%09d", tonumber(now.sec), tonumber(now.nsec))
end

function setup(thread)
	thread:set("number", #threads)
	table.insert(threads, thread)
end

function init(arguments)
	folder, delay_ms = arguments[1], tonumber(arguments[2])
	math.randomseed(tonumber(arguments[3]) * 1000 + number)
	for i = 4, #arguments, 2 do
		table.insert(requests, wrk.format("GET", arguments[i + 1]))
		for _ = 1, tonumber(arguments[i]) do
			table.insert(draws, #requests)
		end
	end
	notes = assert(io.open(folder .. "/answers." .. number, "w"))
end

function delay()
	return delay_ms
end

function request()
	path = draws[math.random(#draws)]
	intent = clock()
	return requests[path]
end

function response(status, headers)
	if status == REJECTED then
		rejected = rejected + 1
		return
	end
	notes:write(intent, " ", clock(), " ", path - 1, " ", status, " ", headers["X-Source"] or "-", "\n")
	notes:flush()
end

function done(summary)
	local sum = 0
	for _, thread in ipairs(threads) do
		sum = sum + thread:get("rejected")
	end
	local file = assert(io.open(threads[1]:get("folder") .. "/sum", "w"))
	file:write(sum, " ", summary.errors.connect, " ", summary.errors.timeout, "\n")
	file:close()
end
