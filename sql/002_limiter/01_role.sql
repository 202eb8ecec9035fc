-- The roles. The files of this folder, in the order of their names, are
-- migration 2; they run as one transaction (psql -1, or `stint db migrate`).
--
-- The installing user need not be a superuser: CREATEROLE, and CREATE on the database, suffice.
--
-- This file may be run again: `stint db migrate` does so in a cluster into which a dump was restored without its roles.

do $$
begin
	if current_setting('server_version_num')::int < 150000 then
		raise exception 'stint needs PostgreSQL 15 or later, this is %', current_setting('server_version');
	end if;
	if current_setting('server_encoding') <> 'UTF8' then
		raise exception 'stint needs a database with encoding UTF8, this one has %', current_setting('server_encoding')
			using hint = 'create database … encoding ''UTF8'' template template0';
	end if;
end
$$;

-- Roles belong to the whole server: another database's installation may have made them, or may be making them now.
do $$
declare
	role text;
begin
	foreach role in array array['stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache'] loop
		if not exists (select from pg_catalog.pg_roles where rolname = role) then
			begin
				execute format('create role %I nologin', role);
				execute format('comment on role %I is %L', role, case role
					when 'stint_owner' then 'Owns the schema stint; its members migrate it.'
					when 'stint_agent' then 'What stintd needs: may call the functions of the schema stint that agents call, and nothing else.'
					when 'stint_operator' then 'May set policies, limit and block clients, and read the views of the schema stint; nothing else.'
					when 'stint_cache' then 'May call the cache_* functions of the schema stint, and nothing else.'
					else 'May read the views of the schema stint, and nothing else.' end);
			-- unique_violation: when we looked, another session had made the role and not yet committed.
			exception when duplicate_object or unique_violation then
				null;
			end;
		end if;
	end loop;
end
$$;

-- Whoever may create roles may have made one of these names before, for himself.
do $$
declare
	role text := (select rolname from pg_catalog.pg_roles
		where rolname in ('stint_owner', 'stint_agent', 'stint_operator', 'stint_auditor', 'stint_cache')
			and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls or rolname = 'stint_owner' and rolcanlogin)
		order by rolname limit 1);
begin
	if role is not null then
		raise exception 'the role % exists, and has rights that stint would not give it', role
			using hint = format('if it is stint''s: alter role %I nosuperuser nocreaterole nocreatedb noreplication nobypassrls%s; else rename it', role,
				case role when 'stint_owner' then ' nologin' else '' end);
	end if;
end
$$;

-- To make objects that belong to stint_owner, the user must be its member; a superuser is a member of every role.
do $$
begin
	if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
		execute format('grant stint_owner to %I', current_user);
	end if;
exception when insufficient_privilege then
	if not pg_catalog.pg_has_role(current_user, 'stint_owner', 'member') then
		raise exception 'the role stint_owner exists and % is not its member', current_user
			using hint = format('let an administrator run: grant stint_owner to %I', current_user);
	end if;
-- This user is installing in two sessions at once, and the other session was faster.
when unique_violation then
	null;
end
$$;
