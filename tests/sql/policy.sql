-- Policies and overrides: declared by apps, set by operators, and the history of both.

begin;
select plan(136);

create function pg_temp.declare(max_requests bigint, again boolean default false, name text default 'api', shadow boolean default false) returns text
language sql volatile as $$ select status from stint.declare_policy(name, max_requests, 1000, 200, 1000, 'sliding_window', 10, 'strict', shadow, again) $$;

select is(pg_temp.declare(100), 'created', 'the first declaration makes the policy');
select is(pg_temp.declare(100), 'unchanged', 'the same again changes nothing');
select is(pg_temp.declare(50), 'changed', 'another one changes it');
select is((select max_requests from stint.policy where name = 'api'), 50, '… the last one wins');
select is(pg_temp.declare(100, again => true), 'kept', 'a repeated declaration leaves it');
select is(pg_temp.declare(100, again => true, name => 'new'), 'created', '… and makes what is missing');
select is(pg_temp.declare(50), 'unchanged', 'it was left');

select is((select policy_id from stint.declare_policy('api', 50, 1000, 200, 1000, 'sliding_window', 10, 'strict', false, false)),
	(select policy_id from stint.policy where name = 'api'), 'the id comes with it');

select is(stint.set_policy('api', 70, 2000), (select policy_id from stint.policy where name = 'api'), 'an operator sets it');
select results_eq($$ select max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm, resolution::int, mode, pinned
	from stint.policy where name = 'api' $$, $$ values (70, 2000::bigint, 200::bigint, 2000::bigint, 'sliding_window', 20, 'strict', true) $$, '… pinned; what isn''t named stays, and what has a default follows');
select is(pg_temp.declare(50), 'pinned', 'a declaration then changes nothing');
select is(pg_temp.declare(50, again => true), 'pinned', '… a repeated one says so, too');
select is((select max_requests from stint.policy where name = 'api'), 70, '… really nothing');
select lives_ok($$ select stint.unpin_policy('api') $$, 'unpinned');
select is(pg_temp.declare(50), 'changed', '… it is the apps'' again');
select results_eq($$ select place, name, max_requests, pinned from stint.get_policies('{new,none,api}') $$, $$ values (1, 'new', 100, false), (3, 'api', 50, false) $$,
	'agents read those that they use');
select is_empty($$ select * from stint.get_policies('{}') $$, '… or none');
select results_eq($$ select policy, max_requests, time_window_ms, pinned from stint.policy_limit order by 1 $$,
	$$ values ('api', 50, 1000::bigint, false), ('new', 100, 1000, false) $$, 'people read them in a view');

-- Overrides.
select lives_ok($$ select stint.set_override('api', 'vip', 1000, 'paid') $$, 'an override');
select lives_ok($$ select stint.block_client('api', 'vip', 'abuse') $$, 'blocked');
select results_eq($$ select max_requests, blocked, note from stint.client_override $$, $$ values (1000, true, 'abuse') $$, '… on top of it');
select results_eq('select policy, client_id, blocked, max_requests, note from stint.client_limit', $$ values ('api', 'vip' collate "C", true, 1000, 'abuse') $$, '… a view shows it');
select lives_ok($$ select stint.set_override('api', 'vip', 2000) $$, 'another limit');
select results_eq($$ select max_requests, blocked, note from stint.client_override $$, $$ values (2000, false, null::text) $$, '… unblocks');
select lives_ok($$ select stint.clear_override('api', 'vip') $$, 'cleared');
select is_empty('select * from stint.client_override', '… gone');

-- Plain SQL is recorded as well.
update stint.policy set max_requests = 51 where name = 'api';
update stint.policy set max_requests = 51 where name = 'api';
insert into stint.client_override (policy_id, client_id, blocked) select policy_id, 'bad', true from stint.policy where name = 'api';
select lives_ok($$ select stint.drop_policy('api') $$, 'dropped');

select results_eq($$ select action, policy_name, client_id, old ->> 'max_requests', new ->> 'max_requests' from stint.change order by change_id $$, $$ values
	('created', 'api', null, null, '100'), ('changed', 'api', null, '100', '50'), ('created', 'new', null, null, '100'),
	('changed', 'api', null, '50', '70'), ('unpinned', 'api', null, '70', '70'), ('changed', 'api', null, '70', '50'),
	('limited', 'api', 'vip', null, '1000'), ('blocked', 'api', 'vip', '1000', '1000'), ('limited', 'api', 'vip', '1000', '2000'),
	('cleared', 'api', 'vip', '2000', null),
	('changed', 'api', null, '50', '51'), ('blocked', 'api', 'bad', null, null),
	('cleared', 'api', 'bad', null, null), ('dropped', 'api', null, '51', null) $$, 'the history has all of it, in order, and nothing that changed nothing');
select ok(bool_and(changed_by = session_user and at between now() and clock_timestamp()), 'who and when') from stint.change;
select min(change_id) as first_change from stint.change \gset
select results_eq(format('select change_id - %1$s, policy_name, client_id, reset_age_us from stint.get_changes(%1$s + 10)', :first_change),
	$$ values (11::bigint, null, 'bad', null::bigint), (12, null, 'bad', null), (13, 'api', null, null) $$,
	'agents read what is new to them');
select is_empty('select * from stint.get_changes(9223372036854775807)', '… and nothing if nothing is');
select is_empty('select * from stint.client_limit', 'no limit for a client is left');
select results_eq($$ select change_id, at, changed_by, action, policy, client_id, old, new from stint.policy_history $$,
	$$ select change_id, at, changed_by, action, policy_name, client_id, old, new from stint.change $$, 'auditors read it in a view');

-- What gets another key goes, and comes: whoever has one of the two hears of it.
select max(change_id) as newest from stint.change \gset
insert into stint.client_override (policy_id, client_id, max_requests) select policy_id, 'from', 7 from stint.policy where name = 'new';
update stint.client_override set client_id = 'to' where client_id = 'from';
update stint.policy set name = 'renamed' where name = 'new';
select results_eq(format('select action, policy_name, client_id, old is null, new is null from stint.change where change_id > %s order by change_id', :newest), $$ values
	('limited', 'new', 'from', true, false), ('cleared', 'new', 'from', false, true), ('limited', 'new', 'to', true, false),
	('dropped', 'new', null, false, true), ('created', 'renamed', null, true, false) $$, 'another key: one goes, one comes');

-- Many at once: read in portions; and what a policy's overrides cost when it goes doesn't grow with the square of them.
select max(change_id) as newest from stint.change \gset
insert into stint.client_override (policy_id, client_id, max_requests) select policy_id, i::text, 7 from stint.policy, generate_series(1, 3000) i where name = 'renamed';
select results_eq(format($$ select count(*), min(change_id), max(change_id), max(client_id) from stint.get_changes(%s) $$, :newest),
	format($$ values (1000::bigint, %1$s::bigint + 1, %1$s::bigint + 1000, '999') $$, :newest), 'a thousand at a time');
set local statement_timeout = '5s';
select lives_ok($$ select stint.drop_policy('renamed') $$, 'a policy with 3000 overrides is dropped in time');
set local statement_timeout = 0;
select is((select count(*) from stint.change where action = 'cleared' and policy_name = 'renamed'), 3001::bigint, '… each of them recorded under its name');

-- Versions of an app side by side: by turns they change it three times in ten minutes, and no more.
create function pg_temp.declare_turns(turns int) returns text language sql volatile as $$
	select string_agg(pg_temp.declare(100 + 100 * (i % 2), name => 'turns'), ' ' order by i) from generate_series(1, turns) i $$;
select is(pg_temp.declare(100, name => 'turns'), 'created', 'an app in an old version');
select is(pg_temp.declare_turns(7), 'changed changed changed put off unchanged put off unchanged', '… and in a new one, by turns: the new one stays');
select is((select count(*) from stint.change where policy_name = 'turns'), 4::bigint, '… and the history is short');
select is(pg_temp.declare(300, name => 'turns'), 'changed', 'what is new wins at once');
select is(pg_temp.declare(100, name => 'turns'), 'put off', '… over what was before');
create function pg_temp.let_pass(span interval) returns void language sql volatile as $$
	update stint.policy set replaced = (select jsonb_agg(jsonb_set(r, '{at}', to_jsonb((r ->> 'at')::timestamptz - span))) from jsonb_array_elements(replaced) r) where name = 'turns' $$;
select pg_temp.let_pass('11 min');
select is(pg_temp.declare_turns(4), 'changed changed changed put off', 'ten minutes later it is as at first');
select pg_temp.let_pass('-1 hour');
select is(pg_temp.declare(100, name => 'turns'), 'changed', 'a clock that was set back puts nothing off');
select is(jsonb_array_length(replaced), 1, 'what is old is forgotten') from stint.policy where name = 'turns';
select ok(bool_and(not coalesce(old, new) ? 'replaced'), 'the history is of limits') from stint.change;
delete from stint.policy where name = 'turns';

-- What is not allowed, in words.
select throws_ok(format('select stint.set_policy(%s)', args), '22023', 'stint: ' || message, replace(message, e'\n', '\n')) from (values
	('''a b'', 1, 1000', 'policy is ''a b'', must be 1 to 63 characters of [A-Za-z0-9_.:/-]'),
	(''''', 1, 1000', 'policy is '''', must be 1 to 63 characters of [A-Za-z0-9_.:/-]'),
	('repeat(''x'', 64), 1, 1000', 'policy is ''' || repeat('x', 64) || ''', must be 1 to 63 characters of [A-Za-z0-9_.:/-]'),
	('e''a\n'', 1, 1000', e'policy is ''a\n'', must be 1 to 63 characters of [A-Za-z0-9_.:/-]'),
	('null, 1, 1000', 'policy is NULL, must be 1 to 63 characters of [A-Za-z0-9_.:/-]'),
	('''a'', 0, 1000', 'max_requests is 0, must be 1 to 1000000000'),
	('''a'', 1000000001, 1000', 'max_requests is 1000000001, must be 1 to 1000000000'),
	('''a'', 9223372036854775807, 1000, 1', 'max_requests is 9223372036854775807, must be 1 to 1000000000'),
	('''a'', 1, 99', 'time_window_ms is 99, must be 100 to 2678400000'),
	('''a'', 1, 2678400001', 'time_window_ms is 2678400001, must be 100 to 2678400000'),
	('''a'', 1, 1000, 0', 'fallback_max_requests is 0, must be 1 to 2000000000'),
	('''a'', 1, 1000, 2000000001', 'fallback_max_requests is 2000000001, must be 1 to 2000000000'),
	('''a'', 1, 1000, 1, 99', 'fallback_time_window_ms is 99, must be 100 to 2678400000'),
	('''a'', 1, 1000, algorithm => ''leaky''', 'algorithm is ''leaky'', must be sliding_window or fixed_window'),
	('''a'', 1, 1000, resolution => 0', 'resolution is 0, must be 1 to 60'),
	('''a'', 1, 1000, resolution => 61', 'resolution is 61, must be 1 to 60'),
	('''a'', 1, 180, resolution => 20', 'time_window_ms is 180 and resolution is 20: a sub-window must be at least 10 ms'),
	('''a'', 1, 1000, mode => ''lax''', 'mode is ''lax'', must be strict or relaxed')) as x (args, message);
select lives_ok(format('select stint.set_policy(%s)', args), 'allowed: ' || args) from unnest(array[
	'''a'', 1, 100', '''a'', 1000000000, 2678400000, 2000000000, 2678400000', '''a'', 1, 181, resolution => 20', '''a'', 1, 100, algorithm => ''fixed_window'', resolution => 60',
	'''a.b:c/d-e_F9'', 1, 100', 'repeat(''x'', 63), 1, 100']) args;
select throws_ok($$ select * from stint.declare_policy('a', 0, 1000, 1, 1000, 'sliding_window', 10, 'strict', false, false) $$, '22023',
	'stint: max_requests is 0, must be 1 to 1000000000', 'the same for a declaration');
select throws_ok(format('select stint.%s', call), 'P0002', 'stint: no policy ''none''', call) from unnest(array[
	'unpin_policy(''none'')', 'drop_policy(''none'')', 'set_override(''none'', ''c'', 1)', 'unblock_client(''none'', ''c'')', 'block_client(''none'', ''c'')', 'clear_override(''none'', ''c'')']) call;
select throws_ok($$ select stint.set_override('a', '', 1) $$, '22023', 'stint: the client has 0 bytes, must be 1 to 255', 'an override for nobody');
select throws_ok($$ select stint.block_client('a', repeat('ü', 128)) $$, '22023', 'stint: the client has 256 bytes, must be 1 to 255', 'a client that is too long');
select throws_ok($$ select stint.set_override('a', 'c', 0) $$, '22023', 'stint: max_requests is 0, must be 1 to 1000000000', 'an override of 0');
select throws_ok($$ select stint.set_override('a', 'c', null) $$, '22023', 'stint: max_requests is null, must be 1 to 1000000000', 'an override of nothing');
select throws_ok($$ select stint.set_override('a', 'c', 1000000001) $$, '22023', 'stint: max_requests is 1000000001, must be 1 to 1000000000', 'an override of too much');
select throws_ok($$ select stint.block_client('a', null) $$, '22023', 'stint: the client has 0 bytes, must be 1 to 255', 'no client');
select throws_ok($$ select stint.set_policy('nothing', null, 1000) $$, 'P0002', 'stint: no policy ''nothing''', 'a new policy without a limit');
select throws_ok($$ select stint.set_policy('nothing', 10) $$, 'P0002', 'stint: no policy ''nothing''', '… or without a window');
select throws_ok($$ select stint.block_client('a', 'c', repeat('ü', 500) || 'x') $$, '22023', 'stint: the note has 1001 bytes, must be 1000 at most', 'a note that is too long');
select throws_ok($$ select stint.set_override('a', 'c', 1, repeat('ü', 500) || 'x') $$, '22023', 'stint: the note has 1001 bytes, must be 1000 at most', '… of a limit');
select lives_ok($$ select stint.block_client('a', 'noted', repeat('ü', 500)), stint.clear_override('a', 'noted') $$, 'the longest note');
select throws_ok($$ select stint.block_client(null, 'c') $$, 'P0002', 'stint: no policy null', 'no policy');
select throws_ok($$ select stint.clear_override('a', 'c') $$, 'P0002', 'stint: client ''c'' of policy ''a'' has no block, and no limit of its own', 'no override to clear');
select throws_ok($$ insert into stint.client_override (policy_id, client_id) select policy_id, 'c' from stint.policy limit 1 $$, '23514', null, 'an override of nothing');
select throws_ok('truncate stint.client_override', 'P0001', null, 'no truncate without a history');

select ok((select proconfig @> '{lock_timeout=20ms}' from pg_proc
	where oid = 'stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean)'::regprocedure),
	'a declaration gives up soon, since leases wait behind it');

-- Without a resolution.
select stint.set_policy('short', 70, 1999);
select is((select resolution::int from stint.policy where name = 'short'), 10, 'a window below 2 s is cut into fewer sub-windows');

-- Shadows. An operator's word beats an app's.
select is(pg_temp.declare(50, name => 'dark', shadow => true), 'created', 'an app declares a shadow');
select is(pg_temp.declare(50, name => 'dark', shadow => true), 'unchanged', '… and again');
select results_eq($$ select shadow, pinned from stint.get_policies('{dark}') $$, $$ values (true, false) $$, 'agents read that');
select is((select shadow from stint.policy_limit where policy = 'dark'), true, '… and people');
select is(pg_temp.declare(50, name => 'dark'), 'changed', 'the last declaration wins');
select is((select shadow from stint.policy where name = 'dark'), false, '… it is in force');
select lives_ok($$ select stint.set_shadow('dark', true) $$, 'an operator makes it a shadow');
select results_eq($$ select max_requests, shadow, pinned from stint.policy where name = 'dark' $$, $$ values (50, true, true) $$, '… its limits stay, pinned');
select is(pg_temp.declare(50, name => 'dark'), 'pinned', '… a declaration changes nothing');
select stint.set_policy('dark', 60, 1000);
select results_eq($$ select max_requests, shadow from stint.policy where name = 'dark' $$, $$ values (60, true) $$, 'another limit: it stays a shadow');
select stint.set_policy('dark', 60, 1000, shadow => false);
select is((select shadow from stint.policy where name = 'dark'), false, '… unless it is said to be none');
select stint.set_policy('dark', 60, 1000, shadow => true);
select is((select shadow from stint.policy where name = 'dark'), true, '… or to be one');
select lives_ok($$ select stint.set_shadow('dark', false) $$, 'it is taken off');
select throws_ok($$ select stint.set_shadow('none', true) $$, 'P0002', 'stint: no policy ''none''', 'of no policy');
select throws_ok($$ select stint.set_shadow('dark', null) $$, '22023', 'stint: shadow is null, must be true or false', 'neither the one nor the other');
select results_eq($$ select action, old ->> 'shadow', new ->> 'shadow' from stint.policy_history where policy = 'dark' order by change_id $$, $$ values
	('created', null, 'true'), ('changed', 'true', 'false'), ('changed', 'false', 'true'), ('changed', 'true', 'true'), ('changed', 'true', 'false'),
	('changed', 'false', 'true'), ('changed', 'true', 'false') $$, 'the history has each change');
select stint.set_policy('bright', 60, 1000);
select is((select shadow from stint.policy where name = 'bright'), false, 'a new policy is no shadow');

-- What isn't named stays as it is; what has its default follows.
create function pg_temp.kept() returns text language sql volatile as $$
	select concat_ws(' ', p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms, p.algorithm, p.resolution, p.mode, p.shadow)
	from stint.policy p where p.name = 'kept' $$;
select stint.set_policy('kept', 10, 60000);
select is(pg_temp.kept(), '10 60000 20 60000 sliding_window 20 strict f', 'kept: the defaults');
select stint.set_policy('kept', max_requests => 30);
select is(pg_temp.kept(), '30 60000 60 60000 sliding_window 20 strict f', 'kept: the fallback follows the limit');
select stint.set_policy('kept', time_window_ms => 1000);
select is(pg_temp.kept(), '30 1000 60 1000 sliding_window 10 strict f', 'kept: its window and the resolution follow the window');
select stint.set_policy('kept', fallback_max_requests => 5, fallback_time_window_ms => 7000, algorithm => 'fixed_window', resolution => 7, mode => 'relaxed', shadow => true);
select is(pg_temp.kept(), '30 1000 5 7000 fixed_window 7 relaxed t', 'kept: what is named');
select stint.set_policy('kept', 40, 5000);
select is(pg_temp.kept(), '40 5000 5 7000 fixed_window 7 relaxed t', 'kept: … stays');
select stint.unpin_policy('kept'), stint.set_policy('kept', shadow => false);
select is(pg_temp.kept(), '40 5000 5 7000 fixed_window 7 relaxed f', 'kept: a shadow alone');
select is((select pinned from stint.policy where name = 'kept'), true, 'kept: whatever is set pins');
select stint.set_policy('kept', max_requests => 1000000000);
select stint.set_policy('kept', fallback_max_requests => 2000000000);
select stint.set_policy('kept', max_requests => 2);
select is(pg_temp.kept(), '2 5000 4 7000 fixed_window 7 relaxed f', 'kept: the largest default follows, too');

-- Blocks end, and notes stay.
create function pg_temp.exception() returns text language sql volatile as $$
	select concat_ws(' ', o.blocked, o.max_requests, o.blocked_until is not null, o.note) from stint.client_override o where o.client_id = 'noted' $$;
select stint.block_client('kept', 'noted', 'abuse', 60000), stint.block_client('kept', 'noted');
select is(pg_temp.exception(), 't f abuse', 'note: a block keeps it, and ends when it is said');
select stint.block_client('kept', 'noted', '');
select is(pg_temp.exception(), 't f', 'note: an empty one takes it away');
select stint.block_client('kept', 'noted', 'abuse'), stint.set_override('kept', 'noted', 3);
select is(pg_temp.exception(), 'f 3 f', 'note: a block''s is no limit''s');
select stint.set_override('kept', 'noted', 3, 'paid'), stint.set_override('kept', 'noted', 4), stint.block_client('kept', 'noted', null, 60000);
select is(pg_temp.exception(), 't 4 t paid', 'note: a limit''s stays');
select stint.unblock_client('kept', 'noted');
select is(pg_temp.exception(), 'f 4 f paid', 'unblocked: the limit holds again');
select is((select action from stint.change order by change_id desc limit 1), 'unblocked', '… which is in the history');
select throws_ok($$ select stint.unblock_client('kept', 'noted') $$, 'P0002', 'stint: client ''noted'' of policy ''kept'' is not blocked', 'who isn''t blocked can''t be unblocked');
select stint.clear_override('kept', 'noted'), stint.block_client('kept', 'noted'), stint.unblock_client('kept', 'noted');
select is(pg_temp.exception(), null, 'unblocked: nothing is left of it');

-- A drop that would take exceptions along; and one that an app undoes.
select stint.set_override('kept', 'noted', 3), stint.block_client('kept', 'noted'), stint.block_client('kept', 'other');
select throws_ok($$ select stint.drop_policy('kept', false) $$, '2BP01', 'stint: with policy ''kept'' would go 2 blocks and 1 limits of clients'' own', 'a drop says what goes with it');
select lives_ok($$ select stint.drop_policy('kept', true) $$, '… and drops it if told');
select is(pg_temp.declare(9, name => 'kept'), 'brought back', 'an app brings it back');
select is((select action from stint.change order by change_id desc limit 1), 'brought back', '… which is in the history');
select ok(dropped_at between now() and clock_timestamp() and dropped_by = session_user, '… and with it, who dropped it') from stint.policy_limit where policy = 'kept';
select is(pg_temp.declare(8, name => 'kept'), 'changed', '… it stays an app''s');
select stint.set_policy('kept', max_requests => 8);
select is((select dropped_at from stint.policy_limit where policy = 'kept'), null, '… until an operator sets it');
select lives_ok($$ select stint.drop_policy('kept', false) $$, 'a drop that takes nothing along');
select stint.set_policy('kept', 10, 1000);
select is((select dropped_at from stint.policy where name = 'kept'), null, 'an operator who makes it again has not to be told');

select * from finish();
rollback;
