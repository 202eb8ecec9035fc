-- This row is written last: whoever sees version 2 has all of it.

insert into stint.migration (version, name, breaking) values (2, 'limiter', true);

-- Takes back rights that this database's default privileges may have given.
revoke all on all tables in schema stint from public;
revoke all on all functions in schema stint from public;

-- See stint.schema_object.
delete from stint.schema_object;
insert into stint.schema_object (kind, identity, grants) select p.kind, p.identity, p.grants from stint.present_object p;

reset role;
