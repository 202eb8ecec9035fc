-- The operator sets a policy and pins it: then an app's declaration changes nothing any more.
--
-- What isn't named stays as it is. But what has a default that follows from the limit or the window, and has that, keeps
-- following it: nobody has said anything else.

create function stint.set_policy(
	name text, max_requests bigint default null, time_window_ms bigint default null, fallback_max_requests bigint default null,
	fallback_time_window_ms bigint default null, algorithm text default null, resolution int default null,
	mode text default null, shadow boolean default null
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	was stint.policy;
	requests bigint;
	window_ms bigint;
	fallback_requests bigint;
	fallback_window_ms bigint;
	sub_windows int;
	counted text;
	how text;
	id int;
begin
	perform stint.enter_queue();
	select p.* into was from stint.policy p where p.name = set_policy.name;
	id := was.policy_id;
	if id is null and (max_requests is null or time_window_ms is null) then
		perform stint.find_policy(name); -- which says that there is none
	end if;
	requests := coalesce(max_requests, was.max_requests);
	window_ms := coalesce(time_window_ms, was.time_window_ms);
	fallback_requests := coalesce(fallback_max_requests, nullif(was.fallback_max_requests, 2 * was.max_requests::bigint), 2 * requests);
	fallback_window_ms := coalesce(fallback_time_window_ms, nullif(was.fallback_time_window_ms, was.time_window_ms), window_ms);
	-- as in lib/protocol/limits.h
	sub_windows := coalesce(resolution, nullif(was.resolution, case when was.time_window_ms >= 2000 then 20 else 10 end),
		case when window_ms >= 2000 then 20 else 10 end);
	counted := coalesce(algorithm, was.algorithm, 'sliding_window');
	how := coalesce(mode, was.mode, 'strict');
	perform stint.check_policy(name, requests, window_ms, fallback_requests, fallback_window_ms, counted, sub_windows, how);
	if id is null then
		insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
			algorithm, resolution, mode, shadow, pinned)
		values (set_policy.name, requests, window_ms, fallback_requests, fallback_window_ms, counted, sub_windows, how,
			coalesce(set_policy.shadow, false), true)
		returning p.policy_id into id;
	else
		update stint.policy p
		set max_requests = requests, time_window_ms = window_ms, fallback_max_requests = fallback_requests,
			fallback_time_window_ms = fallback_window_ms, algorithm = counted, resolution = sub_windows, mode = how,
			shadow = coalesce(set_policy.shadow, p.shadow), pinned = true, dropped_at = null, dropped_by = null
		where p.policy_id = id;
	end if;
	return id;
end
$$;

comment on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) is
	'For operators: makes or changes a policy and pins it. null: as it was. A new one needs max_requests and time_window_ms; without fallback values: twice '
	'the limit, the same window; without a resolution: 20, or 10 of a window below 2 s. What has such a default keeps following the limit and the window.';
revoke execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) from public;
grant execute on function stint.set_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) to stint_operator;
