-- Says in words what is wrong with a policy; the table's CHECKs refuse the same values, but don't name them.

create function stint.check_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text
) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
	wrong text := case
		when coalesce(name !~ '^[A-Za-z0-9_.:/-]{1,63}$', true) then
			format('policy is %L, must be 1 to 63 characters of [A-Za-z0-9_.:/-]', left(name, 80))
		when coalesce(max_requests not between 1 and 1000000000, true) then
			format('max_requests is %s, must be 1 to 1000000000', coalesce(max_requests::text, 'null'))
		when coalesce(time_window_ms not between 100 and 2678400000, true) then
			format('time_window_ms is %s, must be 100 to 2678400000', coalesce(time_window_ms::text, 'null'))
		when coalesce(fallback_max_requests not between 1 and 2000000000, true) then
			format('fallback_max_requests is %s, must be 1 to 2000000000', coalesce(fallback_max_requests::text, 'null'))
		when coalesce(fallback_time_window_ms not between 100 and 2678400000, true) then
			format('fallback_time_window_ms is %s, must be 100 to 2678400000', coalesce(fallback_time_window_ms::text, 'null'))
		when coalesce(algorithm not in ('sliding_window', 'fixed_window'), true) then
			format('algorithm is %L, must be sliding_window or fixed_window', left(algorithm, 80))
		when coalesce(resolution not between 1 and 60, true) then
			format('resolution is %s, must be 1 to 60', coalesce(resolution::text, 'null'))
		when algorithm = 'sliding_window' and time_window_ms <= 9 * resolution then
			format('time_window_ms is %s and resolution is %s: a sub-window must be at least 10 ms', time_window_ms, resolution)
		when coalesce(mode not in ('strict', 'relaxed'), true) then
			format('mode is %L, must be strict or relaxed', left(mode, 80))
	end;
begin
	if wrong is not null then
		raise exception 'stint: %', wrong using errcode = '22023';
	end if;
end
$$;

comment on function stint.check_policy(text, bigint, bigint, bigint, bigint, text, int, text) is
	'Raises 22023 and names the value and its range if a policy is not valid.';
revoke execute on function stint.check_policy(text, bigint, bigint, bigint, bigint, text, int, text) from public;
