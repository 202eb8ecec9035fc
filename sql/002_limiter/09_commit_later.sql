-- What agents write of themselves and what they clear away may be lost in a crash: it comes again, or goes again. So
-- nobody waits until it is on disk, or on a standby, and no lease waits behind it on the agent's connection.

create function stint.commit_later() returns void
language plpgsql volatile
as $$
begin
	perform set_config('synchronous_commit', 'off', true);
end
$$;

comment on function stint.commit_later() is
	'The commit of this transaction is reported before it is on disk. For heartbeats and for expiry, not for anything that was granted.';
revoke execute on function stint.commit_later() from public;
