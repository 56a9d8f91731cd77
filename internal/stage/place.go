package stage

import (
	"io"
	"os"
	"syscall"
	"time"
)

// Place is what a stage may use of the agent that runs it. The agent owns all of it; a stage uses
// it only until its Run returns.
//
// # Who ends what
//
// The context of Run is cancelled when the stage is ended early (cancelled, timed out, the lease of
// the agent ran out). The agent itself then ends the stage's processes (TERM, grace, KILL) and
// refuses to start more; Run only has to return once its Wait calls have, and what it returns as
// the reason is replaced by the true one. What the stage left running is ended by the agent
// after Run has returned, unless Spec.Leave is set.
type Place struct {
	// Start starts a process in a session of its own. It returns an error when the program cannot
	// be executed (as os.StartProcess does: *os.PathError with ENOENT, EACCES …) and, once the stage
	// is being ended, the cause. It may be called concurrently.
	Start func(Command) (Process, error)

	// Stdout and Stderr are the stage's spool, streams 1 and 2. One Write is one record with one
	// time, so write whole lines. A Write blocks while the spool is full and the runner is reading.
	// Both may be used concurrently.
	Stdout, Stderr io.Writer

	Archives *os.Root // archives by name: Pack writes there (make them under another name, then rename), Unpack reads
	Scratch  string   // a directory of this stage alone, 0700, removed after the stage; scripts and askpass helpers go here
	Shells   []string // absolute paths that exist, of bash, sh and pwsh in this order
	Git      string   // absolute path of git; empty when there is none
}

// Command is a process to start.
type Command struct {
	Path string   // absolute path of the program
	Args []string // all arguments, the program's name first
	Env  []string // the whole environment, "KEY=VALUE"; the agent adds its mark to it
	Dir  string   // working directory; empty: the agent's own

	Stdin      *os.File   // nil: /dev/null. The caller closes it.
	ExtraFiles []*os.File // descriptors 3, 4, … of the process. The caller closes them.

	// Stdout and Stderr: nil is /dev/null, an *os.File is handed to the process as it is, everything
	// else is fed from a pipe; one writer in both (compared with ==) gets one pipe, so that the order
	// is kept. Place.Stdout and Place.Stderr are the quick way.
	Stdout, Stderr io.Writer
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // its exit code; 128+n when signal n ended it
	Signal syscall.Signal // 0 unless a signal ended it
}

// Process is a process that Place.Start started.
type Process interface {
	PID() int
	// Wait returns when the process has ended and its output is in the writers. Output is waited for
	// at most a second when other processes hold the pipe open; what had been written when the
	// process ended is always there. It may be called several times and concurrently. The error is
	// that of a writer; Exit is true all the same.
	Wait() (Exit, error)
	// End ends the process and its descendants: TERM, and KILL after grace (0: at once KILL). It
	// returns when they are gone; Wait returns then too.
	End(grace time.Duration)
}
