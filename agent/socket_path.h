/*
 * socket_path.h - the path on which a Unix socket is to listen. What a killed process has left there goes; a
 * socket on which somebody answers, or may answer, and other files stay.
 */
#ifndef STINT_SOCKET_PATH_H
#define STINT_SOCKET_PATH_H

struct sockaddr_un;

/* Makes the path free. type: SOCK_STREAM or SOCK_SEQPACKET, as is to listen there. Returns 0; EEXIST: what is
 * there is no socket; EADDRINUSE: somebody listens; or another errno, for which it can't be told whether somebody
 * does. */
int socket_path_clear(const struct sockaddr_un *, int type);

#endif
