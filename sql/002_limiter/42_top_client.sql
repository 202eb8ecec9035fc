-- Shows which clients use most.

create view stint.top_client as
select u.policy, rank() over (partition by u.policy order by u.used desc) as rank, u.client_id, u.used, u.max_requests, u.percent
from stint.usage u
order by u.policy, rank, u.client_id;

comment on view stint.top_client is 'Each policy''s clients, those that use most now first.';
comment on column stint.top_client.policy is 'The policy''s name.';
comment on column stint.top_client.rank is 'The place among the policy''s clients.';
comment on column stint.top_client.client_id is 'The client.';
comment on column stint.top_client.used is 'What is charged to it now.';
comment on column stint.top_client.max_requests is 'Its limit; 0: blocked.';
comment on column stint.top_client.percent is 'Used, as a part of its limit.';

grant select on stint.top_client to stint_operator, stint_auditor;
