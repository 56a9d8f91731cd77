package engine

import (
	"encoding/json"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
)

// TestElapsedDoesNotFollowTheWallClock gives a job a wall clock that has jumped since it was accepted: while
// the machine has not been restarted, only the boot clock counts.
func TestElapsedDoesNotFollowTheWallClock(t *testing.T) {
	t.Parallel()
	const ran, slack = time.Minute, 30 * time.Second
	for name, c := range map[string]struct {
		boot string
		jump time.Duration // of the wall clock, since the job was accepted
		want time.Duration
	}{
		"no jump":                   {boot: boottime.ID(), want: ran},
		"ten hours forward":         {boot: boottime.ID(), jump: 10 * time.Hour, want: ran},
		"ten hours back":            {boot: boottime.ID(), jump: -10 * time.Hour, want: ran},
		"after a restart":           {boot: "another boot", want: ran},
		"after a restart, and jump": {boot: "another boot", jump: 10 * time.Hour, want: ran + 10*time.Hour}, // there is no other clock
		"a record without a boot":   {jump: time.Hour, want: ran + time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := time.Now().Add(-ran - c.jump)
			raw, err := json.Marshal(progress{Boot: c.boot, Started: boottime.Now() - ran, Accepted: accepted, Timeout: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			got := readProgress(raw, accepted, time.Hour).elapsed()
			if got < c.want-slack || got > c.want+slack {
				t.Errorf("elapsed: %v, want about %v", got, c.want)
			}
		})
	}
}

// TestDeliveryDoesNotFollowTheWallClock gives a job that has ended a wall clock that has jumped by days since.
func TestDeliveryDoesNotFollowTheWallClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		boot string
		jump time.Duration
		want time.Duration
	}{
		"two days forward": {boot: boottime.ID(), jump: 48 * time.Hour},
		"two days back":    {boot: boottime.ID(), jump: -48 * time.Hour},
		"after a restart":  {boot: "another boot", jump: 48 * time.Hour, want: 48 * time.Hour},
		"an older record":  {jump: 48 * time.Hour, want: 48 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := progress{EndedBoot: c.boot, Ended: boottime.Now()}
			if got := p.sinceEnd(time.Now().Add(-c.jump)); got < c.want || got > c.want+30*time.Second {
				t.Errorf("since the end: %v, want about %v", got, c.want)
			}
		})
	}
}
