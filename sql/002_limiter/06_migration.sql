-- Which migrations this database has.

create table stint.migration (
	version    int primary key,
	name       text not null,
	breaking   boolean not null,
	applied_at timestamptz not null default clock_timestamp(),
	applied_by text not null default session_user
);

comment on table stint.migration is 'The migrations that were applied; each one adds its own row.';
comment on column stint.migration.version is 'Its number, from 1.';
comment on column stint.migration.name is 'Its name.';
comment on column stint.migration.breaking is 'Whether agents that were made for an older version can''t work with it.';
comment on column stint.migration.applied_at is 'When.';
comment on column stint.migration.applied_by is 'By whom: the role that was logged in.';

create function stint.schema_version() returns int
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select max(m.version) from stint.migration m;
end;

comment on function stint.schema_version() is
	'The newest migration''s number: agents refuse a schema that is older than they need. This function stays in all versions.';
revoke execute on function stint.schema_version() from public;
grant execute on function stint.schema_version() to stint_agent, stint_auditor, stint_operator;

create function stint.oldest_agent() returns int
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select max(m.version) from stint.migration m where m.breaking;
end;

comment on function stint.oldest_agent() is
	'Agents made for this version of the schema, or a later one, can work with it: the newest breaking migration. This function stays in all '
	'versions, so that an agent can tell whether it may work with a schema that is newer than itself.';
revoke execute on function stint.oldest_agent() from public;
grant execute on function stint.oldest_agent() to stint_agent, stint_auditor, stint_operator;
