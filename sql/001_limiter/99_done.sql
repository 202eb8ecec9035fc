-- Written last: who sees version 1 has all of it.

insert into stint.migration (version, name, breaking) values (1, 'limiter', true);

-- Rights that default privileges of this database may have given are taken back.
revoke all on all tables in schema stint from public;
revoke all on all functions in schema stint from public;

-- See stint.schema_object.
delete from stint.schema_object;
insert into stint.schema_object (kind, identity, grants) select p.kind, p.identity, p.grants from stint.present_object p;

reset role;
