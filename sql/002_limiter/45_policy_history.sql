-- Shows who changed which limit when.

create view stint.policy_history as
select c.change_id, c.at, c.changed_by, c.action, c.policy_name as policy, c.client_id, c.old, c.new,
	coalesce(c.xmin = pg_current_xact_id_if_assigned()::xid, false) as own
from stint.change c;

comment on view stint.policy_history is 'Every change of a policy, or of what holds for one client of it, in the last year.';
comment on column stint.policy_history.change_id is 'Ascending in the order of changes.';
comment on column stint.policy_history.at is 'When.';
comment on column stint.policy_history.changed_by is 'Who: the role that was logged in.';
comment on column stint.policy_history.action is
	'Of a policy: created, changed, pinned, unpinned, dropped; brought back: it was dropped, and an app has declared it again. Of a client: limited, blocked, unblocked, cleared, and ended: by itself, at its time; reset, and reset done: what it had kept is forgotten, too.';
comment on column stint.policy_history.policy is 'The policy''s name then.';
comment on column stint.policy_history.client_id is 'The client; null: the policy itself.';
comment on column stint.policy_history.old is 'Before; null: there was nothing.';
comment on column stint.policy_history.new is 'After; null: there is nothing any more. Of a reset: how much was forgotten, and what is kept for a while.';
comment on column stint.policy_history.own is 'Whether the transaction that asks has made this change.';

grant select on stint.policy_history to stint_operator, stint_auditor;
