/*
 * test_outbox.c - verdicts that wait are sent in order, so many at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outbox.h"

static uint32_t sent; /* how many verdicts were sent, each the next one */

/* Takes the place of the server's. */
void server_send(struct server *server, server_peer peer, const void *message, size_t size) {
	const struct wire_verdict *verdict = message;
	assert_null(server);
	assert_int_equal(peer, 7);
	assert_int_equal(size, sizeof(*verdict));
	assert_int_equal(verdict->head.serial, sent++);
}

static struct outbox outbox;

static void put(uint32_t first, uint32_t count) {
	for (uint32_t serial = first; serial < first + count; serial++)
		outbox_put(&outbox, NULL, 7, &(struct wire_verdict){.head = {.serial = serial}});
}

static int start(void **state) {
	(void)state;
	sent = 0;
	return 0;
}

static int clean(void **state) {
	(void)state;
	outbox_free(&outbox);
	return 0;
}

static void they_go_in_order_so_many_at_a_time(void **state) {
	(void)state;
	put(0, 2500);
	assert_true(outbox_send(&outbox, NULL, 1000));
	assert_int_equal(sent, 1000);
	put(2500, 100); /* these were decided meanwhile and go behind the others */
	assert_true(outbox_send(&outbox, NULL, 1000));
	assert_false(outbox_send(&outbox, NULL, 1000));
	assert_int_equal(sent, 2600);
	assert_false(outbox_send(&outbox, NULL, 1000));
	assert_int_equal(sent, 2600);
	put(2600, 5);
	assert_false(outbox_send(&outbox, NULL, SIZE_MAX));
	assert_int_equal(sent, 2605);
}

static void a_floods_memory_is_given_back(void **state) {
	(void)state;
	put(0, 100);
	outbox_send(&outbox, NULL, SIZE_MAX);
	assert_true(outbox.room >= 100); /* the room that is usually needed is kept */
	put(100, 100000);
	assert_true(outbox_send(&outbox, NULL, 99999));
	assert_true(outbox.room >= 100000);
	assert_false(outbox_send(&outbox, NULL, 1000));
	assert_int_equal(outbox.room, 0);
	assert_null(outbox.entries);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(they_go_in_order_so_many_at_a_time, start, clean),
		cmocka_unit_test_setup_teardown(a_floods_memory_is_given_back, start, clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
