-- What is limited, and how much. The ranges are those of stint.h.

create table stint.policy (
	policy_id               int generated always as identity primary key,
	name                    text not null unique
		constraint policy_name_check check (name ~ '^[A-Za-z0-9_.:/-]{1,63}$'),
	max_requests            int not null
		constraint policy_max_requests_check check (max_requests between 1 and 1000000000),
	time_window_ms          bigint not null
		constraint policy_time_window_check check (time_window_ms between 100 and 2678400000),
	fallback_max_requests   bigint not null
		constraint policy_fallback_requests_check check (fallback_max_requests between 1 and 2000000000),
	fallback_time_window_ms bigint not null
		constraint policy_fallback_window_check check (fallback_time_window_ms between 100 and 2678400000),
	algorithm               text not null default 'sliding_window'
		constraint policy_algorithm_check check (algorithm in ('sliding_window', 'fixed_window')),
	resolution              smallint not null default 20
		constraint policy_resolution_check check (resolution between 1 and 60),
	mode                    text not null default 'strict'
		constraint policy_mode_check check (mode in ('strict', 'relaxed')),
	shadow                  boolean not null default false,
	pinned                  boolean not null default false,
	replaced                jsonb not null default '[]',
	dropped_at              timestamptz,
	dropped_by              text,
	changed_at              timestamptz not null default clock_timestamp(),
	changed_by              text not null default session_user,
	constraint policy_sub_window_check check (algorithm <> 'sliding_window' or time_window_ms > 9 * resolution)
);

comment on table stint.policy is 'A named limit. Rows come from the apps'' declarations, or are set and pinned by an operator.';
comment on column stint.policy.policy_id is 'What counters refer to; a policy that is dropped and made again gets a new one.';
comment on column stint.policy.name is 'The name that apps use.';
comment on column stint.policy.max_requests is 'The limit: the most that one client may be admitted in any time_window_ms, all hosts together.';
comment on column stint.policy.time_window_ms is 'The window of the limit.';
comment on column stint.policy.fallback_max_requests is 'The limit of each host on its own while it can''t reach the database.';
comment on column stint.policy.fallback_time_window_ms is 'The window of the fallback limit.';
comment on column stint.policy.algorithm is 'How requests are counted: sliding_window (any interval) or fixed_window (aligned windows).';
comment on column stint.policy.resolution is 'Sub-windows of a sliding window: more of them waste less of the limit, and cost more statements.';
comment on column stint.policy.mode is 'strict: counted before it is admitted. relaxed: a client''s first requests are admitted before they are counted.';
comment on column stint.policy.shadow is 'Nobody is denied: apps admit whom the limit would deny, and are told. All else is as if they were denied.';
comment on column stint.policy.pinned is 'Set by an operator: the apps'' declarations change nothing.';
comment on column stint.policy.replaced is
	'Limits that apps'' declarations have replaced lately, the last ones first, each with the time: see stint.declare_policy().';
comment on column stint.policy.dropped_at is
	'Then a policy of this name was dropped, and an app''s declaration has brought it back; null: not so, or an operator has set it since.';
comment on column stint.policy.dropped_by is 'Who had dropped it.';
comment on column stint.policy.changed_at is 'When it was changed last.';
comment on column stint.policy.changed_by is 'Who changed it last: the role that was logged in.';
comment on constraint policy_name_check on stint.policy is 'Names appear in configuration, logs and command lines: no blanks, no quotes.';
comment on constraint policy_max_requests_check on stint.policy is 'Sums of counts stay far below the range of int.';
comment on constraint policy_time_window_check on stint.policy is 'Shorter than 100 ms, the way to the database would be most of it. At most 31 days.';
comment on constraint policy_fallback_requests_check on stint.policy is 'Twice the largest limit, which is the default.';
comment on constraint policy_fallback_window_check on stint.policy is 'As for the window of the limit.';
comment on constraint policy_algorithm_check on stint.policy is 'What the agents know.';
comment on constraint policy_resolution_check on stint.policy is 'A counter holds up to twice as many counts, and one more.';
comment on constraint policy_mode_check on stint.policy is 'What the agents know.';
comment on constraint policy_sub_window_check on stint.policy is
	'A sub-window, ceil(time_window_ms / resolution), is at least 10 ms: leases of less would end before they arrive.';

create table stint.client_override (
	policy_id    int not null references stint.policy on delete cascade,
	client_id    text collate "C" not null
		constraint client_override_client_check check (octet_length(client_id) between 1 and 255),
	max_requests int
		constraint client_override_max_requests_check check (max_requests between 1 and 1000000000),
	limited_until timestamptz
		constraint client_override_limited_until_check check (limited_until is null or max_requests is not null),
	blocked      boolean not null default false,
	blocked_until timestamptz
		constraint client_override_blocked_until_check check (blocked_until is null or blocked),
	note         text
		constraint client_override_note_check check (octet_length(note) <= 1000),
	changed_at   timestamptz not null default clock_timestamp(),
	changed_by   text not null default session_user,
	primary key (policy_id, client_id),
	constraint client_override_purpose_check check (blocked or max_requests is not null)
);

create index client_override_until_idx on stint.client_override (least(limited_until, blocked_until), policy_id, client_id)
	where least(limited_until, blocked_until) is not null;

comment on table stint.client_override is 'Another limit for one client of a policy, or none at all: the client is blocked.';
comment on column stint.client_override.policy_id is 'The policy.';
comment on column stint.client_override.client_id is 'The client, as the apps name it.';
comment on column stint.client_override.max_requests is 'The client''s limit instead of the policy''s.';
comment on column stint.client_override.blocked is 'Nothing is admitted, whatever max_requests says. (The fallback limit holds while a host can''t reach the database.)';
comment on column stint.client_override.limited_until is 'From then on max_requests doesn''t hold any more; null: it doesn''t end by itself.';
comment on column stint.client_override.blocked_until is 'From then on the client isn''t blocked any more; null: that doesn''t end by itself.';
comment on column stint.client_override.note is 'Why, for people.';
comment on column stint.client_override.changed_at is 'When it was changed last.';
comment on column stint.client_override.changed_by is 'Who changed it last: the role that was logged in.';
comment on constraint client_override_client_check on stint.client_override is 'The same as for any client: 1 to 255 bytes.';
comment on constraint client_override_max_requests_check on stint.client_override is 'As for a policy; use blocked for 0.';
comment on constraint client_override_limited_until_check on stint.client_override is 'What isn''t there doesn''t end.';
comment on constraint client_override_blocked_until_check on stint.client_override is 'What isn''t there doesn''t end.';
comment on constraint client_override_note_check on stint.client_override is 'Each change of the row keeps it in the history for a year.';
comment on index stint.client_override_until_idx is 'What has ended is found without looking at the rest: see stint.end_overrides().';
comment on constraint client_override_purpose_check on stint.client_override is 'A row that changes nothing is a mistake.';
