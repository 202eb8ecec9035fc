/*
 * test_clock_shortcut.c - read without the C library, the coarse clock is the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

static uint64_t ask_kernel(void) {
	struct timespec t;

	assert_int_equal(syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &t), 0);
	return clock_ns(&t);
}

/* Where there is no shortcut, as under valgrind, it is clock_gettime() that must be right. */
static void it_is_the_kernels_coarse_clock(void **state) {
	(void)state;
	clock_find_shortcut();
	for (int i = 0; i < 1000; i++) {
		uint64_t before_ns = ask_kernel(), now_ns = clock_coarse_ns(), after_ns = ask_kernel();

		assert_in_range(now_ns, before_ns, after_ns);
	}
}

/* Sanitizers have a clock_gettime() of their own, and valgrind hides the kernel's. */
static void it_is_found_where_it_must_be(void **state) {
	(void)state;
	clock_find_shortcut();
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	bool expected = getauxval(AT_SYSINFO_EHDR) != 0;
#else
	bool expected = false;
#endif
	assert_int_equal(atomic_load(&clock_read_coarse) != clock_gettime, expected);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_the_kernels_coarse_clock),
		cmocka_unit_test(it_is_found_where_it_must_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
