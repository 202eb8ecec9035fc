-- What has been granted must outlive a crash of the server, whatever synchronous_commit says for the role or the
-- database.
--
-- synchronous_commit is set for the transaction, not for the session: that also works behind a pooler. A SET clause
-- of a function would not do: it ends with the function, before the commit. Only off is raised: local, remote_write and
-- the like are the operator's choice of what waits for standbys, and with them a crash of this server loses nothing.

-- Mostly there is nothing to set. A grant sees that by this function, which is plain SQL, so that it is inlined: a call of
-- secure_commit() would take it 12 µs. It asks for the two conditions that secure_commit() has.
create function stint.commits_safely() returns boolean
language sql stable
as $$
	select current_setting('synchronous_commit') <> 'off' and current_setting('client_min_messages') not in ('error', 'fatal', 'panic')
$$;

comment on function stint.commits_safely() is 'Whether stint.secure_commit() would have nothing to do.';
revoke execute on function stint.commits_safely() from public;

create function stint.secure_commit() returns void
language plpgsql volatile
as $$
begin
	-- stint.synchronous_commit is what the agent's configuration says. An operator may also set it for a role or
	-- a database.
	if current_setting('synchronous_commit') = 'off' and coalesce(current_setting('stint.synchronous_commit', true), '') <> 'keep' then
		perform set_config('synchronous_commit', 'on', true);
	end if;
	-- Agents need the warning that a commit may not have reached its standby: they learn from it that the commit
	-- may be lost.
	if current_setting('client_min_messages') in ('error', 'fatal', 'panic') then
		perform set_config('client_min_messages', 'warning', true);
	end if;
end
$$;

comment on function stint.secure_commit() is
	'What this transaction does is on disk when its commit is reported: synchronous_commit is on where it would be off. The setting '
	'stint.synchronous_commit = keep leaves it as it is.';
revoke execute on function stint.secure_commit() from public;
