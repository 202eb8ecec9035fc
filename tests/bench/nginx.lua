-- What wrk asks for in bench_nginx.c: clients in turn. At the end a line "REQUESTS MICROSECONDS REJECTED BROKEN".
--
--     wrk ... -s nginx.lua URL -- PATH CLIENTS       PATH?k=client-N

local requests, next_one = {}, 0

function init(arguments)
	for i = 1, tonumber(arguments[2]) do
		requests[i] = wrk.format("GET", arguments[1] .. "?k=client-" .. i)
	end
end

function request()
	next_one = next_one % #requests + 1
	return requests[next_one]
end

function done(summary)
	local errors = summary.errors
	local broken = errors.connect + errors.read + errors.write + errors.timeout
	io.write(summary.requests, " ", summary.duration, " ", errors.status, " ", broken, "\n")
end
