-- An agent that is back reports what it admitted on its own.

create function stint.report_fallback(
	host_id int, lasted_ms bigint, ended_ms_ago bigint, admitted bigint, clients bigint, reason text
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
	ended constant timestamptz := clock_timestamp() - greatest(ended_ms_ago, 0) * interval '1 millisecond';
begin
	insert into stint.host_fallback (host_id, host, began_at, ended_at, admitted, clients, reason)
	select h.host_id, h.name, ended - greatest(lasted_ms, 0) * interval '1 millisecond',
		ended, report_fallback.admitted, report_fallback.clients, report_fallback.reason
	from stint.agent_host h
	where h.host_id = report_fallback.host_id
	on conflict do nothing;
end
$$;

comment on function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) is
	'For agents: writes a period on its own into the history. Durations are by the host''s stopwatch.';
revoke execute on function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) from public;
grant execute on function stint.report_fallback(int, bigint, bigint, bigint, bigint, text) to stint_agent;
