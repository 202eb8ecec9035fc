-- When the database was taken over by a standby.

create view stint.promotion as
select t.timeline, t.seen_at
from stint.server_timeline t
where exists (select from stint.server_timeline o where o.seen_at < t.seen_at);

comment on view stint.promotion is
	'Each time that agents found a promoted standby (or a restored backup) in the database''s place: what the old server had committed last may be lost.';
comment on column stint.promotion.timeline is 'The timeline of the write-ahead log that began with it.';
comment on column stint.promotion.seen_at is 'When the first agent found it.';

grant select on stint.promotion to stint_operator, stint_auditor;
