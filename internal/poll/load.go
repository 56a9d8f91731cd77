package poll

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// HostLoad returns a function for Options.Load: the share of the last ten seconds in which some work
// of the machine waited for a processor, from /proc/pressure/cpu; where the kernel does not keep
// that, how much of the load of the last minute the processors cannot serve. It reads at most
// once a second and returns 0 where it cannot read.
func HostLoad() func() float64 {
	var mu sync.Mutex
	var value float64
	var read time.Time
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(read) >= time.Second {
			read, value = now, hostLoad("/proc")
		}
		return value
	}
}

func hostLoad(proc string) float64 {
	if b, err := os.ReadFile(proc + "/pressure/cpu"); err == nil {
		if v, ok := parsePressure(b); ok {
			return v
		}
	}
	b, err := os.ReadFile(proc + "/loadavg")
	if err != nil {
		return 0
	}
	return parseLoadavg(b, runtime.NumCPU())
}

// parsePressure reads the 10-second average of "some" as a share of 1.
// Source: Documentation/accounting/psi.rst of the kernel.
func parsePressure(b []byte) (float64, bool) {
	for line := range bytes.Lines(b) {
		fields := bytes.Fields(line)
		if len(fields) < 2 || string(fields[0]) != "some" {
			continue
		}
		text, ok := bytes.CutPrefix(fields[1], []byte("avg10="))
		v, err := strconv.ParseFloat(string(text), 64)
		return within(v / 100), ok && err == nil
	}
	return 0, false
}

// parseLoadavg reads the 1-minute load: with as many runnable tasks as processors nothing waits,
// with twice as many half of them do.
func parseLoadavg(b []byte, cpus int) float64 {
	fields := bytes.Fields(b)
	if len(fields) == 0 {
		return 0
	}
	load, err := strconv.ParseFloat(string(fields[0]), 64)
	if err != nil || load <= 0 {
		return 0
	}
	return within(1 - float64(cpus)/load)
}

// within bounds v to 0 … 1; what is no number is 0.
func within(v float64) float64 {
	if v > 0 {
		return min(v, 1)
	}
	return 0
}
