-- Where a client's sub-windows begin: at a hash of the client, so that not all clients begin at once. The hash's
-- seed holds the sub-window's length: when a policy gets sub-windows of another length, they begin elsewhere, and
-- a return of credits from before the change finds nothing to lower.

create function stint.phase_us(policy_id int, client_id text, sub_window_us bigint) returns bigint
language sql immutable parallel safe
as $$
	select mod(
		hashtextextended(client_id collate "C", (policy_id::bigint << 32) + sub_window_us / 1000) & 9223372036854775807, sub_window_us)
$$;

comment on function stint.phase_us(int, text, bigint) is 'The offset of a client''s sub-windows, in microseconds since 1970.';
revoke execute on function stint.phase_us(int, text, bigint) from public;
