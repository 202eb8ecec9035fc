/*
 * test_shm.c - the shared-memory objects are made, or taken over; a second agent can't have them; and they are
 * made anew when what lies there is of another version, size or boot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_dir.h"
#include "shm.h"
#include "core/table.h"
#include "protocol/tally.h"
#include "protocol/timens.h"

#define CLIENTS 100

static char dir[OWN_DIR_MAX], name[OWN_SHM_MAX], directory_name[80], table_name[80];
static char error[SHM_ERROR_MAX];
static struct shm shm, second;

static int make(void **state) {
	(void)state;
	if (own_dir_make(dir, name) != 0)
		return -1;
	snprintf(directory_name, sizeof(directory_name), "%s.directory", name);
	snprintf(table_name, sizeof(table_name), "%s.table", name);
	return shm_objects_open(&shm, name, CLIENTS, error);
}

static int clean(void **state) {
	(void)state;
	shm_objects_close(&shm);
	shm_objects_close(&second);
	own_dir_unlink_objects(name);
	own_dir_remove(dir);
	return 0;
}

static void open_again(uint64_t clients) {
	if (shm_objects_open(&second, name, clients, error) != 0)
		fail_msg("%s", error);
}

static void new_objects_are_complete_and_private(void **state) {
	(void)state;
	struct stat st;
	assert_false(shm.taken_over);
	assert_true(shm.directory->magic == LAYOUT_MAGIC && shm.table->magic == LAYOUT_MAGIC);
	assert_int_equal(shm.directory->version, LAYOUT_VERSION);
	assert_true(shm.directory->generation != 0);
	assert_true(shm.table->generation == shm.directory->generation);
	assert_int_equal(atomic_load(&shm.table->state), TABLE_ALIVE);
	assert_int_equal(fstat(shm.table_fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, shm.directory->table_bytes);
	assert_int_equal(fstat(shm.directory_fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(fcntl(shm.directory_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(shm.table_fd, F_GETFL) & O_ACCMODE, O_RDWR);
	uint8_t zero[SECRET_SIZE] = {0};
	assert_memory_not_equal(shm.directory->secret, zero, sizeof(zero));
}

static void nothing_stays_open(void **state) {
	(void)state;
	const int opened[] = {shm.directory_fd, shm.table_fd, shm.lock_fd};
	shm_objects_close(&shm);
	for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++)
		assert_int_equal(fcntl(opened[i], F_GETFD), -1);
}

static void apps_cannot_write_the_directory(void **state) {
	(void)state;
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shm.directory_fd, 0), MAP_FAILED);
}

static void a_second_agent_is_refused(void **state) {
	(void)state;
	assert_int_equal(shm_objects_open(&second, name, CLIENTS, error), -1);
	assert_non_null(strstr(error, "another agent is running"));
	assert_int_equal(shm_objects_open(&second, name, 5000, error), -1); /* it may not make other ones either */
	assert_int_equal(atomic_load(&shm.table->state), TABLE_ALIVE);
}

static void an_app_that_holds_the_descriptors_does_not_hold_the_lock(void **state) {
	(void)state;
	int app = dup(shm.table_fd);
	shm_objects_close(&shm);
	open_again(CLIENTS);
	assert_true(second.taken_over);
	close(app);
}

static void the_next_agent_takes_over_what_is_there(void **state) {
	(void)state;
	uint64_t generation = shm.directory->generation;
	((unsigned char *)shm.table)[shm.directory->slots_offset] = 77;
	shm_objects_close(&shm);
	open_again(CLIENTS);
	assert_true(second.taken_over);
	assert_true(second.directory->generation == generation);
	assert_int_equal(((unsigned char *)second.table)[second.directory->slots_offset], 77);
}

/* The machine had fewer CPUs when the table was made. */
static void the_next_agent_goes_on_with_fewer_tallies(void **state) {
	(void)state;
	struct table_geometry g = table_geometry_for(CLIENTS, TALLY_SHARED + 1);
	struct directory_header d = *shm.directory;
	d.tally_stripes = g.tally_stripes;
	d.table_bytes = g.table_bytes;
	((unsigned char *)shm.table)[g.tallies_offset] = 99;
	shm_objects_close(&shm);
	int directory = shm_open(directory_name, O_RDWR, 0), table = shm_open(table_name, O_RDWR, 0);
	assert_int_equal(pwrite(directory, &d, sizeof(d), 0), sizeof(d));
	assert_int_equal(ftruncate(table, (off_t)g.table_bytes), 0);
	close(directory);
	close(table);
	open_again(CLIENTS);
	assert_true(second.taken_over);
	assert_int_equal(second.directory->tally_stripes, TALLY_SHARED + 1);
	assert_int_equal(((unsigned char *)second.table)[g.tallies_offset], 99);
}

/* The objects have been replaced. Apps that still have the old table mapped see that it is retired. */
static void expect_replaced(uint64_t clients) {
	uint64_t generation = shm.directory->generation;
	size_t bytes = sizeof(struct table_header);
	struct table_header *old = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, shm.table_fd, 0);
	assert_ptr_not_equal(old, MAP_FAILED);
	shm_objects_close(&shm);
	open_again(clients);
	assert_false(second.taken_over);
	assert_true(second.directory->generation != generation);
	assert_int_equal(atomic_load(&second.table->state), TABLE_ALIVE);
	assert_int_equal(atomic_load(&old->state), TABLE_RETIRED);
	munmap(old, bytes);
}

static void another_size_is_made_anew(void **state) {
	(void)state;
	expect_replaced(5000);
}

static void another_magic_is_made_anew(void **state) {
	(void)state;
	shm.directory->magic++;
	expect_replaced(CLIENTS);
}

static void another_version_is_made_anew(void **state) {
	(void)state;
	shm.directory->version++;
	expect_replaced(CLIENTS);
}

static void another_version_of_the_table_is_made_anew(void **state) {
	(void)state;
	shm.table->version++;
	expect_replaced(CLIENTS);
}

static void another_boot_is_made_anew(void **state) {
	(void)state;
	shm.directory->boot_id[3] ^= 1;
	expect_replaced(CLIENTS);
}

/* The table's deadlines mean nothing by another clock. */
static void another_time_namespace_is_made_anew(void **state) {
	(void)state;
	if (shm.directory->clock_offset == TIMENS_UNKNOWN)
		return; /* the kernel doesn't tell */
	shm.directory->clock_offset += 1000;
	expect_replaced(CLIENTS);
}

static void an_unknown_time_namespace_is_taken_over(void **state) {
	(void)state;
	shm.directory->clock_offset = TIMENS_UNKNOWN;
	shm_objects_close(&shm);
	open_again(CLIENTS);
	assert_true(second.taken_over);
	assert_int_equal(second.directory->clock_offset, timens_offset());
}

static void halves_that_do_not_belong_together_are_made_anew(void **state) {
	(void)state;
	shm.table->generation++;
	expect_replaced(CLIENTS);
}

static void what_was_never_finished_is_made_anew(void **state) {
	(void)state;
	atomic_store(&shm.table->state, TABLE_INITIALISING);
	expect_replaced(CLIENTS);
}

static void offsets_that_lead_astray_are_made_anew(void **state) {
	(void)state;
	shm.directory->slots_offset += 64;
	expect_replaced(CLIENTS);
}

static void tallies_that_lie_are_made_anew(void **state) {
	(void)state;
	shm.directory->tally_stripes = UINT32_MAX;
	expect_replaced(CLIENTS);
}

static void what_was_cut_short_is_made_anew(void **state) {
	(void)state;
	assert_int_equal(ftruncate(shm.table_fd, 4096), 0);
	expect_replaced(CLIENTS);
}

static void one_object_without_the_other_is_made_anew(void **state) {
	(void)state;
	shm_unlink(directory_name);
	expect_replaced(CLIENTS);
}

static void wider_rights_are_taken_back(void **state) {
	(void)state;
	struct stat st;
	assert_int_equal(fchmod(shm.table_fd, 0666), 0);
	shm_objects_close(&shm);
	open_again(CLIENTS);
	assert_true(second.taken_over);
	assert_int_equal(fstat(second.table_fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void another_users_objects_are_refused(void **state) {
	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can give objects away\n");
		skip();
	}
	assert_int_equal(fchown(shm.table_fd, 12345, 12345), 0);
	shm_objects_close(&shm);
	assert_int_equal(shm_objects_open(&second, name, CLIENTS, error), -1);
	assert_non_null(strstr(error, "12345"));
}

static void more_than_there_is_memory_for_is_an_error(void **state) {
	(void)state;
	shm_objects_close(&shm);
	assert_int_equal(shm_objects_open(&second, name, UINT64_C(1) << 34, error), -1);
	assert_true(error[0] != '\0');
	open_again(CLIENTS); /* and it leaves nothing in the way */
}

/* Leaves what an agent leaves that is killed when it has sized its objects, but not yet taken the memory. */
static void leave_objects_without_memory(void) {
	struct table_geometry g = table_geometry_for(CLIENTS, TALLY_SHARED + 1);
	int directory = shm_open(directory_name, O_RDWR | O_CREAT, 0600),
		table = shm_open(table_name, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(directory, (off_t)g.directory_bytes), 0);
	assert_int_equal(ftruncate(table, (off_t)g.table_bytes), 0);
	close(directory);
	close(table);
}

static void fill_the_file_system(void) {
	static const char page[4096];
	int fd = open("/dev/shm/full", O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	while (write(fd, page, sizeof(page)) > 0)
		;
	close(fd);
}

/* Gives 0 when the start fails with an error, as it should. */
static int start_in_a_full_shm(void) {
	leave_objects_without_memory();
	fill_the_file_system();
	return shm_objects_open(&second, name, CLIENTS, error) == -1 && strstr(error, "No space left") ? 0 : 1;
}

#define CANNOT 77

static void objects_without_memory_are_no_bus_error(void **state) {
	(void)state;
	int status;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0)
			_exit(CANNOT);
		_exit(start_in_a_full_shm());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
		print_message("skipped: no /dev/shm of its own here: that takes the right to mount\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
	const struct CMUnitTest tests[] = {
		TEST(new_objects_are_complete_and_private),
		TEST(nothing_stays_open),
		TEST(apps_cannot_write_the_directory),
		TEST(a_second_agent_is_refused),
		TEST(an_app_that_holds_the_descriptors_does_not_hold_the_lock),
		TEST(the_next_agent_takes_over_what_is_there),
		TEST(another_size_is_made_anew),
		TEST(another_magic_is_made_anew),
		TEST(another_version_is_made_anew),
		TEST(another_version_of_the_table_is_made_anew),
		TEST(another_boot_is_made_anew),
		TEST(another_time_namespace_is_made_anew),
		TEST(an_unknown_time_namespace_is_taken_over),
		TEST(halves_that_do_not_belong_together_are_made_anew),
		TEST(what_was_never_finished_is_made_anew),
		TEST(offsets_that_lead_astray_are_made_anew),
		TEST(the_next_agent_goes_on_with_fewer_tallies),
		TEST(tallies_that_lie_are_made_anew),
		TEST(what_was_cut_short_is_made_anew),
		TEST(one_object_without_the_other_is_made_anew),
		TEST(wider_rights_are_taken_back),
		TEST(another_users_objects_are_refused),
		TEST(more_than_there_is_memory_for_is_an_error),
		TEST(objects_without_memory_are_no_bus_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
