-- Shows when hosts were on their own.

create view stint.fallback_period as
select f.host, f.began_at, f.ended_at, f.ended_at - f.began_at as lasted, f.admitted, f.clients, f.reason
from stint.host_fallback f;

comment on view stint.fallback_period is 'Each time in the last year that a host could not reach the database, as it reported on its return.';
comment on column stint.fallback_period.host is 'The host''s name.';
comment on column stint.fallback_period.began_at is 'The beginning.';
comment on column stint.fallback_period.ended_at is 'The end.';
comment on column stint.fallback_period.lasted is 'How long that was.';
comment on column stint.fallback_period.admitted is 'Sum of the costs that it admitted then.';
comment on column stint.fallback_period.clients is 'How many clients that were.';
comment on column stint.fallback_period.reason is 'Why, in the agent''s words.';

grant select on stint.fallback_period to stint_operator, stint_auditor;
