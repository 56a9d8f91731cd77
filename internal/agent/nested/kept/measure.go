package kept

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Measure counts places with all rights over the files of the engine's users. It starts processes and leaves it to the caller's
// reaper to wait for them.
func Measure(ctx context.Context, places []Place) (Size, error) {
	return run(ctx, places, false)
}

// Remove removes the regular files that Measure would count; nothing may use them any more.
func Remove(ctx context.Context, places []Place) error {
	_, err := run(ctx, places, true)
	return err
}

// firstFile is the descriptor of the first file that a process is given besides the standard three.
const firstFile = 3

func run(ctx context.Context, places []Place, remove bool) (Size, error) {
	r, dirs := request{Remove: remove}, make([]*os.File, len(places))
	for i, p := range places {
		r.Places, dirs[i] = append(r.Places, opened{Path: p.path, Since: p.since, FD: firstFile + i}), p.dir
	}
	text, err := json.Marshal(r)
	if err != nil {
		return Size{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return Size{}, fmt.Errorf("find the agent's own executable: %w", err)
	}
	c, err := start(ctx, []string{self, commandAwait, string(text)}, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}, dirs...)
	if err != nil {
		return Size{}, fmt.Errorf("make a user namespace: %w", err)
	}
	defer c.end()
	if err := mapIDs(ctx, c.process.Pid); err != nil {
		return Size{}, err
	}
	if _, err := c.in.Write([]byte{'\n'}); err != nil {
		return Size{}, fmt.Errorf("begin to count: %w", err)
	}
	return c.hear(ctx)
}

// hear is what a process says that counts.
func (c *child) hear(ctx context.Context) (Size, error) {
	said, err := io.ReadAll(io.LimitReader(c.out, 64<<10))
	if err != nil {
		return Size{}, fmt.Errorf("count what the engine keeps: %w", errors.Join(context.Cause(ctx), err))
	}
	var a answer
	if err := json.Unmarshal(said, &a); err != nil {
		return Size{}, fmt.Errorf("count what the engine keeps: %w: %q", err, said)
	}
	if a.Error != "" {
		return a.Size, fmt.Errorf("count what the engine keeps: %s", a.Error)
	}
	return a.Size, nil
}

// child is a process that is spoken to. What becomes of it nobody asks: what it says is what counts, and who reaps is another.
type child struct {
	process *os.Process
	in, out *os.File
	stop    func() bool
}

// start starts a program, which is killed when ctx ends, with files besides the standard ones.
func start(ctx context.Context, line []string, attr *syscall.SysProcAttr, files ...*os.File) (*child, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer theirOut.Close()
	p, err := os.StartProcess(line[0], line, &os.ProcAttr{Files: append([]*os.File{theirIn, theirOut, theirOut}, files...), Env: os.Environ(), Sys: attr})
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	c := &child{process: p, in: in, out: out}
	c.stop = context.AfterFunc(ctx, func() {
		_ = p.Kill()
		_ = out.SetReadDeadline(time.Unix(1, 0))
	})
	return c, nil
}

func (c *child) end() {
	c.stop()
	_ = c.process.Kill() // an error says that it has ended
	_ = c.process.Release()
	_ = c.in.Close()
	_ = c.out.Close()
}

// mapIDs gives a process in a new user namespace the ids that the engine's containers have, as Podman maps them.
func mapIDs(ctx context.Context, pid int) error {
	me, err := user.LookupId(strconv.Itoa(os.Getuid()))
	name := ""
	if err == nil {
		name = me.Username
	}
	for _, m := range []struct {
		program, ranges, table string
		own                    int
	}{{"newuidmap", "/etc/subuid", "uid_map", os.Getuid()}, {"newgidmap", "/etc/subgid", "gid_map", os.Getgid()}} {
		text, err := os.ReadFile(m.ranges)
		if err != nil {
			return err
		}
		said, err := runTool(ctx, append([]string{m.program, strconv.Itoa(pid)}, mapping(string(text), name, os.Getuid(), m.own)...))
		if err != nil {
			return err
		}
		if table, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + m.table); err != nil || len(table) == 0 {
			return fmt.Errorf("%s: %w", m.program, errors.Join(err, errors.New(said)))
		}
	}
	return nil
}

// mapping are the arguments for ids: own becomes root, and the ranges of a user follow. Source: subuid(5), newuidmap(1).
func mapping(ranges, name string, uid, own int) []string {
	args, next := []string{"0", strconv.Itoa(own), "1"}, 1
	for lines := bufio.NewScanner(strings.NewReader(ranges)); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != strconv.Itoa(uid) && (name == "" || fields[0] != name) {
			continue
		}
		if n, err := strconv.Atoi(fields[2]); err == nil && n > 0 {
			args = append(args, strconv.Itoa(next), fields[1], fields[2])
			next += n
		}
	}
	return args
}

// runTool runs a program to its end and returns what it says.
func runTool(ctx context.Context, line []string) (string, error) {
	program, err := exec.LookPath(line[0])
	if err != nil {
		return "", err
	}
	c, err := start(ctx, append([]string{program}, line[1:]...), nil)
	if err != nil {
		return "", err
	}
	defer c.end()
	said, err := io.ReadAll(io.LimitReader(c.out, 4<<10))
	return strings.TrimSpace(string(said)), err
}
