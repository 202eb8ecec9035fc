-- What the other views go by: the overrides without what has ended. In a statement all that is asked for is of one time.

create view stint.override_in_force as
select o.policy_id, o.client_id,
	case when (o.limited_until <= statement_timestamp()) is not true then o.max_requests end as max_requests,
	case when o.limited_until > statement_timestamp() then o.limited_until end as limited_until,
	o.blocked and (o.blocked_until <= statement_timestamp()) is not true as blocked,
	case when o.blocked_until > statement_timestamp() then o.blocked_until end as blocked_until,
	o.note, o.changed_at, o.changed_by
from stint.client_override o
where o.blocked and (o.blocked_until <= statement_timestamp()) is not true
	or o.max_requests is not null and (o.limited_until <= statement_timestamp()) is not true;

comment on view stint.override_in_force is 'Overrides as they hold now.';
comment on column stint.override_in_force.policy_id is 'The policy.';
comment on column stint.override_in_force.client_id is 'The client.';
comment on column stint.override_in_force.max_requests is 'Its limit instead of the policy''s; null: it has none of its own.';
comment on column stint.override_in_force.limited_until is 'Until when; null: until it is cleared.';
comment on column stint.override_in_force.blocked is 'Nothing of it is admitted, whatever max_requests says.';
comment on column stint.override_in_force.blocked_until is 'Until when; null: until that is cleared.';
comment on column stint.override_in_force.note is 'Why.';
comment on column stint.override_in_force.changed_at is 'When that was changed last.';
comment on column stint.override_in_force.changed_by is 'Who changed it last: the role that was logged in.';
