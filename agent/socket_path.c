/* socket_path.c - asks who listens on a path; see socket_path.h. */
#include "socket_path.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Returns 0 if nobody answers, for certain; else an errno that says why the socket must be left alone. */
static int ask_who_listens(const struct sockaddr_un *address, int type) {
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error =
		fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 ? errno : EADDRINUSE;
	if (fd >= 0)
		close(fd);
	return error == ECONNREFUSED || error == ENOENT ? 0 : error == EAGAIN ? EADDRINUSE : error;
}

int socket_path_clear(const struct sockaddr_un *address, int type) {
	struct stat st;
	if (lstat(address->sun_path, &st) != 0)
		return 0; /* whoever binds it is told why, if it isn't free */
	int error = S_ISSOCK(st.st_mode) ? ask_who_listens(address, type) : EEXIST;
	if (error == 0)
		unlink(address->sun_path);
	return error;
}
