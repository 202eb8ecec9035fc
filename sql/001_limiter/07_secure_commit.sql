-- What has been granted must outlive a crash of the server, whatever synchronous_commit says for the role or the database.
--
-- It is set for the transaction, not for the session: that also holds behind a pooler, and costs 1.4 µs. A SET clause of a function would not do: it ends
-- with the function, before the commit. Only off is raised: with local, remote_write and the like, what waits for standbys is the
-- operator's choice, and a crash of this server loses nothing.

create function stint.secure_commit() returns void
language plpgsql volatile
as $$
begin
	-- stint.synchronous_commit: what the agent's configuration says. An operator who means it may set it for a role or a database as well.
	if current_setting('synchronous_commit') = 'off' and coalesce(current_setting('stint.synchronous_commit', true), '') <> 'keep' then
		perform set_config('synchronous_commit', 'on', true);
	end if;
	-- Else the warning would be lost that a commit may not have reached its standby, by which agents know that it may be forgotten.
	if current_setting('client_min_messages') in ('error', 'fatal', 'panic') then
		perform set_config('client_min_messages', 'warning', true);
	end if;
end
$$;

comment on function stint.secure_commit() is
	'What this transaction does is on disk when its commit is reported: synchronous_commit is on where it would be off. The setting '
	'stint.synchronous_commit = keep leaves it as it is.';
revoke execute on function stint.secure_commit() from public;
