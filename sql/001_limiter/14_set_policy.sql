-- The operator sets a policy and pins it: then an app's declaration changes nothing any more.

create function stint.set_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint default null,
	fallback_time_window_ms bigint default null, algorithm text default 'sliding_window', resolution int default null,
	mode text default 'strict', shadow boolean default null
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	fallback_requests bigint := coalesce(fallback_max_requests, 2 * max_requests);
	fallback_window_ms bigint := coalesce(fallback_time_window_ms, time_window_ms);
	sub_windows int := coalesce(resolution, case when time_window_ms >= 2000 then 20 else 10 end); -- as in lib/protocol/limits.h
	id int;
begin
	perform stint.check_policy(name, max_requests, time_window_ms, fallback_requests, fallback_window_ms, algorithm, sub_windows, mode);
	insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
		algorithm, resolution, mode, shadow, pinned)
	values (set_policy.name, set_policy.max_requests, set_policy.time_window_ms, fallback_requests, fallback_window_ms,
		set_policy.algorithm, sub_windows, set_policy.mode, coalesce(set_policy.shadow, false), true)
	on conflict on constraint policy_name_key do update
	set max_requests = excluded.max_requests, time_window_ms = excluded.time_window_ms,
		fallback_max_requests = excluded.fallback_max_requests, fallback_time_window_ms = excluded.fallback_time_window_ms,
		algorithm = excluded.algorithm, resolution = excluded.resolution, mode = excluded.mode,
		shadow = coalesce(set_policy.shadow, p.shadow), pinned = true
	returning p.policy_id into id;
	return id;
end
$$;

comment on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) is
	'For operators: makes or changes a policy and pins it. Without fallback values: twice the limit, the same window. Without a resolution: 20, or 10 of a window below 2 s. Without shadow: as it was; a new policy is none.';
revoke execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) from public;
grant execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) to stint_operator;
