-- The schema and its owner.

create schema stint authorization stint_owner;
set local role stint_owner;

comment on schema stint is 'Rate limits that many hosts keep together: policies, counters, hosts, and the views that audit them.';

grant usage on schema stint to stint_agent, stint_operator, stint_auditor, stint_cache;
