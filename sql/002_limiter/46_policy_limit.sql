-- Shows which limits are in force.

create view stint.policy_limit as
select p.name as policy, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms,
	p.algorithm, p.resolution, p.mode, p.shadow, p.pinned, p.changed_at, p.changed_by, p.dropped_at, p.dropped_by
from stint.policy p;

comment on view stint.policy_limit is 'Each policy as it holds for clients without a limit of their own.';
comment on column stint.policy_limit.policy is 'The policy''s name.';
comment on column stint.policy_limit.max_requests is 'The most that one client may be admitted in any time_window_ms, all hosts together.';
comment on column stint.policy_limit.time_window_ms is 'The window of the limit.';
comment on column stint.policy_limit.fallback_max_requests is 'The limit of each host on its own while it can''t reach the database.';
comment on column stint.policy_limit.fallback_time_window_ms is 'The window of the fallback limit.';
comment on column stint.policy_limit.algorithm is 'sliding_window (any interval) or fixed_window (aligned windows).';
comment on column stint.policy_limit.resolution is 'Sub-windows of a sliding window.';
comment on column stint.policy_limit.mode is 'strict: counted before it is admitted. relaxed: a client''s first requests are admitted before they are counted.';
comment on column stint.policy_limit.shadow is 'Nobody is denied: apps admit whom the limit would deny, and are told.';
comment on column stint.policy_limit.pinned is 'Set by an operator: the apps'' declarations change nothing.';
comment on column stint.policy_limit.changed_at is 'When it was changed last.';
comment on column stint.policy_limit.changed_by is 'Who changed it last: the role that was logged in.';
comment on column stint.policy_limit.dropped_at is 'Then it was dropped, and an app''s declaration has brought it back; null: not so, or an operator has set it since.';
comment on column stint.policy_limit.dropped_by is 'Who had dropped it.';

grant select on stint.policy_limit to stint_operator, stint_auditor;
