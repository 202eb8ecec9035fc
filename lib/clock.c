/*
 * clock.c - the shortcut to the coarse clock.
 *
 * The kernel's code that reads it is in every process: in the vDSO, an object that the kernel has loaded there.
 * clock_gettime() of the C library calls that code, and takes a third of the time for itself.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <unistd.h>

#include "clock.h"

/* Programs that are linked statically lack these, and with C libraries of before 2021 some others do. */
#pragma weak dladdr
#pragma weak dlopen
#pragma weak dlsym

_Atomic(clock_function *) clock_read_coarse = clock_gettime;

static const void *object_of(const void *address) {
	Dl_info info;
	return dladdr(address, &info) ? info.dli_fbase : NULL;
}

/* The program, or what is loaded before the C library (libfaketime, say), may have a clock_gettime() of its own.
 * Then both clocks are read by that, since they must go together. */
static bool clock_is_the_c_librarys(void) {
	const void *clock = object_of((void *)(uintptr_t)clock_gettime);
	return clock && clock == object_of((void *)(uintptr_t)getpid);
}

/* Of other processors than x86-64, and under valgrind, the names are unknown, and nothing changes. */
void clock_find_shortcut(void) {
	clock_function *found = NULL;
	/* Once in a process: dladdr() looks at each symbol of the program, which takes longer than attaching. */
	if (atomic_load_explicit(&clock_read_coarse, memory_order_relaxed) != clock_gettime)
		return;
	if (!dladdr || !dlopen || !dlsym || !clock_is_the_c_librarys())
		return;
	void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
	if (vdso)
		*(void **)&found = dlsym(vdso, "__vdso_clock_gettime");
	if (found)
		atomic_store_explicit(&clock_read_coarse, found, memory_order_relaxed);
}
