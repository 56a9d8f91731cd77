package supervisor_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestChaos kills two programs at moments that nobody has chosen, while they leave orphans: both come back each time, end
// when they are told to, and nothing is left of anything but the orphans, which are then reaped.
func TestChaos(t *testing.T) {
	if !alone(t) {
		return
	}
	s := start(t)
	one := s.keep(script(`setsid /bin/sh -c 'exec 0</dev/null; echo orphan; exec /bin/sleep 1000' & echo one; exec /bin/sleep 1000`))
	two := s.keep(script(`/bin/sleep 1000 & echo two; wait`))
	var killing sync.WaitGroup
	killing.Go(func() {
		for range 20 {
			for !one.Signal(syscall.SIGKILL) { // between two lives
				time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
			}
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // a moment that nobody has chosen
		}
	})
	for i := range 20 {
		s.log.await(t, "it | two\n", i+1)
		two.Signal(syscall.SIGKILL)
	}
	killing.Wait()
	was := strings.Count(s.log.String(), "it | one\n")
	one.Signal(syscall.SIGKILL)
	s.log.await(t, "it | one\n", was+1)
	began := time.Now()
	killing.Go(func() { one.Stop(limit) })
	two.Stop(limit)
	killing.Wait()
	if took := time.Since(began); took >= limit {
		t.Errorf("the end took %s", took)
	}
	for _, pid := range children(t) {
		// "": it has just been reaped; setsid: it is about to become a shell
		if name := programOf(pid); !slices.Contains([]string{"sleep", "sh", "setsid", ""}, name) {
			t.Errorf("process %d, %q, is left and no orphan", pid, name)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		gone(t, pid)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// children are those of this process, of all its threads.
func children(t *testing.T) (pids []int) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if os.IsNotExist(err) {
			continue // the thread has ended
		}
		if err != nil {
			t.Skip("the kernel does not list children: ", err)
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func programOf(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSpace(string(b))
}
