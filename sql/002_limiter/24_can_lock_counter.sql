-- Whether a counter can be had at once. A statement that writes it next then waits for nobody.

create function stint.can_lock_counter(policy_id int, client_id text) returns boolean
language plpgsql volatile
as $$
begin
	perform from stint.counter c
	where c.policy_id = can_lock_counter.policy_id and c.client_id = can_lock_counter.client_id collate "C"
	for no key update skip locked;
	return found;
end
$$;

comment on function stint.can_lock_counter(int, text) is
	'Locks a counter for this transaction. False: somebody else has locked it, or it is gone.';
revoke execute on function stint.can_lock_counter(int, text) from public;
