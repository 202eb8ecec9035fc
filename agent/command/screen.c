/*
 * screen.c - see screen.h.
 *
 * Signals that end the process are handled by putting the terminal back and ending by the same signal: at once,
 * even if the program waits for somebody else. Those it goes on after are held back except while it waits for
 * keys, so that they interrupt nothing.
 */
#include "screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "monotonic.h"
#include "output.h"

/* Where a terminal doesn't know its size: a serial line, say. */
#define LINES_UNKNOWN   24
#define COLUMNS_UNKNOWN 80

#define ENTER          "\x1b[?1049h\x1b[?25l" /* the other page, without a cursor */
#define LEAVE          "\x1b[?25h\x1b[?1049l"
#define HOME           "\x1b[H"
#define REST_OF_LINE   "\x1b[K" /* is cleared */
#define REST_OF_SCREEN "\x1b[J"

static const int fatal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static struct {
	bool open;
	struct termios before;
	sigset_t mask;               /* of signals, while keys are waited for */
	volatile sig_atomic_t stale; /* the size may have changed, or what is on the screen */
} screen;

/* ---- What signal handlers call, too ------------------------------------------------------ */

static void take_over(void) {
	struct termios raw = screen.before;
	/* Without Ctrl-S: a terminal that somebody holds back could be put back by nobody. */
	raw.c_iflag &= ~(tcflag_t)IXON;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	(void)!write(STDOUT_FILENO, ENTER, strlen(ENTER));
}

/* Keys that nobody has read aren't for whoever comes next. */
static void put_back(void) {
	(void)!write(STDOUT_FILENO, LEAVE, strlen(LEAVE));
	tcflush(STDIN_FILENO, TCIFLUSH);
	tcsetattr(STDIN_FILENO, TCSANOW, &screen.before);
}

static void on_fatal(int number) {
	put_back();
	signal(number, SIG_DFL);
	raise(number); /* when this function returns */
}

static void on_stop(int number) {
	int error = errno;
	(void)number;
	pid_t foreground;
	put_back();
	do {
		raise(SIGSTOP); /* until SIGCONT; sent into the background, it stays as it is */
		foreground = tcgetpgrp(STDIN_FILENO);
	} while (foreground >= 0 && foreground != getpgrp()); /* without a terminal any more: SIGHUP waits */
	take_over();
	screen.stale = 1;
	errno = error;
}

static void on_resize(int number) {
	(void)number;
	screen.stale = 1;
}

/* ---- Opened, closed ------------------------------------------------------------------------ */

bool screen_is_possible(void) {
	const char *kind = getenv("TERM");
	bool simple = !kind || *kind == '\0' || strcmp(kind, "dumb") == 0;
	return !simple && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* What the process was started to ignore (nohup) stays ignored. */
static void handle(int number, void (*handler)(int)) {
	struct sigaction was, action = {.sa_handler = handler};
	sigfillset(&action.sa_mask);
	if (sigaction(number, NULL, &was) == 0 && was.sa_handler != SIG_IGN)
		sigaction(number, &action, NULL);
}

static void set_handlers(void (*resize)(int), void (*stop)(int), void (*end)(int)) {
	handle(SIGWINCH, resize);
	handle(SIGTSTP, stop);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		handle(fatal[i], end);
}

static void handle_signals(void) {
	sigset_t held;
	sigemptyset(&held);
	sigaddset(&held, SIGWINCH);
	sigaddset(&held, SIGTSTP);
	sigprocmask(SIG_BLOCK, &held, &screen.mask);
	set_handlers(on_resize, on_stop, on_fatal);
}

int screen_open(void) {
	if (tcgetattr(STDIN_FILENO, &screen.before) != 0)
		return -1;
	handle_signals();
	atexit(screen_close);
	screen.open = true;
	take_over();
	return 0;
}

void screen_close(void) {
	if (!screen.open)
		return;
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	screen.open = false;
	set_handlers(SIG_DFL, SIG_DFL, SIG_DFL); /* a Ctrl-Z that was held back must take over nothing afterwards */
	put_back();
	sigprocmask(SIG_SETMASK, &screen.mask, NULL);
}

/* ---- Drawn ----------------------------------------------------------------------------------- */

static void measure(unsigned *lines, unsigned *columns) {
	struct winsize size = {0};
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*lines = size.ws_row > 0 ? size.ws_row : LINES_UNKNOWN;
	*columns = size.ws_col > 0 ? size.ws_col : COLUMNS_UNKNOWN;
}

unsigned screen_lines(void) {
	unsigned lines, columns;
	measure(&lines, &columns);
	return lines;
}

/* The last column stays empty: terminals differ in what a character there does to those behind it. */
static void draw_line(FILE *frame, const char *line, size_t length, unsigned columns) {
	size_t room = columns > 1 ? columns - 1 : 1;
	size_t fits = output_cut(line, length, room);
	bool is_cut = fits < length;
	if (is_cut)
		fits = output_cut(line, length, room - 1);
	fprintf(frame, "%.*s%s" REST_OF_LINE, (int)fits, line, is_cut ? ">" : "");
}

static int write_all(const char *bytes, size_t size) {
	while (size > 0) {
		ssize_t written = write(STDOUT_FILENO, bytes, size);
		if (written < 0 && errno != EINTR)
			return -1;
		bytes += written > 0 ? written : 0;
		size -= written > 0 ? (size_t)written : 0;
	}
	return 0;
}

/* Written at once, so that nobody sees half of it. */
int screen_draw(const char *text) {
	unsigned lines, columns;
	char *bytes = NULL;
	size_t size;
	measure(&lines, &columns);
	FILE *frame = open_memstream(&bytes, &size);
	if (!frame)
		return -1;
	fputs(HOME, frame);
	for (unsigned i = 0; i < lines && *text != '\0'; i++) {
		size_t length = strcspn(text, "\n");
		fputs(i > 0 ? "\r\n" : "", frame);
		draw_line(frame, text, length, columns);
		text += length + (text[length] == '\n');
	}
	fputs(REST_OF_SCREEN, frame);
	int error = fclose(frame);
	if (error == 0)
		error = write_all(bytes, size);
	free(bytes);
	return error;
}

/* ---- Waited for -------------------------------------------------------------------------------- */

static struct timespec time_until(int64_t until_ms) {
	int64_t left_ms = until_ms - monotonic_now_ms();
	if (left_ms < 0)
		left_ms = 0;
	return (struct timespec){.tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * NS_PER_MS};
}

/* Whether the key ends it; the end of the input does. */
static bool is_end(void) {
	char key;
	ssize_t got = read(STDIN_FILENO, &key, 1);
	return got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN) || (got == 1 && (key == 'q' || key == 'Q'));
}

enum screen_event screen_wait(int64_t until_ms) {
	for (;;) {
		struct timespec left = time_until(until_ms);
		struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
		int ready = ppoll(&keys, 1, &left, &screen.mask);
		if (screen.stale) {
			screen.stale = 0;
			return SCREEN_RESIZED;
		}
		if (ready == 0)
			return SCREEN_TIME;
		if (ready > 0 && is_end())
			return SCREEN_QUIT;
	}
}
