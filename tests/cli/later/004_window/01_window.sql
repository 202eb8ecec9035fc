-- A migration that older agents can't work with.

set local search_path = pg_catalog, pg_temp;
set local role stint_owner;

insert into stint.migration (version, name, breaking) values (4, 'window', true);

reset role;
