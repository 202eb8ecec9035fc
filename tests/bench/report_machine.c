/* report_machine.c - asks the kernel and the programs themselves for their versions. */
#include "report_machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The first line of what a command prints, without its end; NULL when there is none. */
static json_t *first_line_of(const char *command) {
	char line[256];
	FILE *pipe = popen(command, "r");
	json_t *text = NULL;

	if (!pipe)
		return NULL;
	if (fgets(line, sizeof(line), pipe)) {
		line[strcspn(line, "\n")] = '\0';
		text = line[0] ? json_string(line) : NULL;
	}
	pclose(pipe);
	return text;
}

static void set(json_t *object, const char *key, json_t *value) {
	if (value)
		json_object_set_new(object, key, value);
}

/* Of the mounts that lie one upon the other the last counts. Without the option, tmpfs takes no huge pages. */
static json_t *huge_pages_of_shm(void) {
	json_t *option = first_line_of("awk '$2 == \"/dev/shm\" { o = $4 } END { if (match(o, /huge=[a-z_]+/)) "
	                               "print substr(o, RSTART + 5, RLENGTH - 5) }' /proc/self/mounts");

	return option ? option : json_string("never");
}

json_t *machine_describe(void) {
	json_t *machine = json_object();
	struct utsname kernel;

	set(machine, "cpu", first_line_of("sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo"));
	json_object_set_new(machine, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(machine, "memory_gib",
	                    json_real((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30)));
	json_object_set_new(machine, "huge_pages_of_shm", huge_pages_of_shm());
	if (uname(&kernel) == 0) {
		set(machine, "kernel", json_string(kernel.release));
		set(machine, "architecture", json_string(kernel.machine));
	}
	set(machine, "system", first_line_of("sed -n 's/^PRETTY_NAME=\"\\(.*\\)\"/\\1/p' /etc/os-release"));
	set(machine, "debian", first_line_of("cat /etc/debian_version 2>/dev/null"));
	/* Both are asked: a container on a virtual machine says only that it is a container. */
	set(machine, "container", first_line_of("systemd-detect-virt --container 2>/dev/null"));
	set(machine, "virtual_machine", first_line_of("systemd-detect-virt --vm 2>/dev/null"));
	json_object_set_new(machine, "hypervisor",
	                    first_line_of("grep -qw hypervisor /proc/cpuinfo && echo yes || echo no"));
	return machine;
}

json_t *machine_list_versions(void) {
	json_t *versions = json_object();

	set(versions, "gcc", json_string(__VERSION__));
	set(versions, "postgresql",
	    first_line_of("ls -v /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -1 | "
	                  "sed 's/.*/\"&\" --version/' | sh 2>/dev/null | sed 's/^postgres (PostgreSQL) //'"));
	set(versions, "redis",
	    first_line_of(
			"{ redis-server --version || redis-cli --version; } 2>/dev/null | "
			"sed -n 's/.* v=\\([^ ]*\\).*/\\1/p; s/^redis-cli //p'")); /* redis-tools has both in one, see redis.c */
	set(versions, "node", first_line_of("node --version 2>/dev/null | sed 's/^v//'"));
	return versions;
}

void machine_date(char *out, size_t size) {
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

json_t *machine_commit(void) {
	return first_line_of("git describe --always --dirty 2>/dev/null");
}
