-- A migration that older agents need not know of.

set local search_path = pg_catalog, pg_temp;
set local role stint_owner;

create view stint.later_note as select m.name from stint.migration m;
grant select on stint.later_note to stint_auditor;

insert into stint.migration (version, name, breaking) values (3, 'note', false);

delete from stint.schema_object;
insert into stint.schema_object (kind, identity, grants) select p.kind, p.identity, p.grants from stint.present_object p;

reset role;
