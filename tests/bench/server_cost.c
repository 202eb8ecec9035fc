/* server_cost.c - see server_cost.h. */
#include "server_cost.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* utime + stime in ms of a process whose parent is the postmaster; of that one itself, with those of its children
 * who have ended; 0 for others. */
static double cpu_of(const char *number, long postmaster) {
	char path[64], text[512];
	unsigned long user = 0, system = 0;
	long parent = 0, ended_user = 0, ended_system = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", number);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file) && strrchr(text, ')'))
		sscanf(strrchr(text, ')') + 1, " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &parent,
		       &user, &system, &ended_user, &ended_system);
	fclose(file);
	if (atol(number) == postmaster)
		return ((double)(user + system) + (double)(ended_user + ended_system)) * 1000 /
		       (double)sysconf(_SC_CLK_TCK);
	return parent == postmaster ? (double)(user + system) * 1000 / (double)sysconf(_SC_CLK_TCK) : 0;
}

static double cpu_of_server(const struct cluster *cluster) {
	char path[160];
	long postmaster = 0;
	double sum = 0;
	FILE *file;
	DIR *processes = opendir("/proc");

	snprintf(path, sizeof(path), "%s/pg/data/postmaster.pid", cluster->dir);
	file = fopen(path, "r");
	if (file && fscanf(file, "%ld", &postmaster) != 1)
		postmaster = 0;
	if (file)
		fclose(file);
	for (struct dirent *entry; processes && postmaster > 0 && (entry = readdir(processes)) != NULL;)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			sum += cpu_of(entry->d_name, postmaster);
	if (processes)
		closedir(processes);
	return sum;
}

struct server_cost server_cost_look(struct cluster *cluster) {
	static const char wal[] = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";

	return (struct server_cost){(double)cluster_number(cluster, wal, 0), cpu_of_server(cluster)};
}
