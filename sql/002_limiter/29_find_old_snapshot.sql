-- Finds out whether anybody holds an old snapshot: an open transaction, a prepared one, or a replication slot.
-- While the snapshot lasts, no version of any row that it might see can be removed, and each update and look-up
-- of a busy row passes over all of them. Only superusers may see who holds it, but this row shows that somebody
-- does: a page has room for eleven versions of the row, and a new one is made every 6 s at most. Versions that
-- nobody can see make room for the next one. If none does, all versions of a minute are still there, and the row
-- moves to another page.

create table stint.horizon (
	only_row   boolean primary key default true constraint horizon_only_row_check check (only_row),
	written_at timestamptz not null default '-infinity',
	told_at    timestamptz not null default '-infinity',
	room       text not null default repeat(' ', 660)
);

insert into stint.horizon default values;

comment on table stint.horizon is 'A row that is written every few seconds: when it moves to another page, an old snapshot keeps its versions.';
comment on column stint.horizon.only_row is 'There is one row.';
comment on column stint.horizon.written_at is 'When it was written last.';
comment on column stint.horizon.told_at is 'When an agent was told of an old snapshot last.';
comment on column stint.horizon.room is 'So that a page has no more than eleven versions.';
comment on constraint horizon_only_row_check on stint.horizon is 'There is one row.';

create function stint.find_old_snapshot(out is_news boolean)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
	now constant timestamptz := clock_timestamp();
	before stint.horizon;
	page_before double precision;
	page_after double precision;
begin
	is_news := false;
	select h.* into before from stint.horizon h for update skip locked;
	if not found or before.written_at between now - interval '6 seconds' and now then
		return;
	end if;
	select (h.ctid::text::point)[0] into page_before from stint.horizon h;
	update stint.horizon h set written_at = now returning (h.ctid::text::point)[0] into page_after;
	is_news := page_after <> page_before and before.told_at not between now - interval '10 minutes' and now;
	if is_news then
		update stint.horizon h set told_at = now;
	end if;
end
$$;

comment on function stint.find_old_snapshot() is
	'Whether somebody has held a snapshot for a minute or so; told once in ten minutes. To be called every few seconds, by one agent.';
revoke execute on function stint.find_old_snapshot() from public;
