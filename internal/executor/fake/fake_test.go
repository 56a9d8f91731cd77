package fake_test

import (
	"testing"
	"testing/synctest"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/executortest"
	"gitlab.com/skerry/skerry/internal/executor/fake"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	m := fake.NewMachine(nil)
	executortest.Run(t, executortest.Harness{
		New:      func(*testing.T) executor.Executor { return m.Executor() },
		Kill:     func(_ *testing.T, ref executor.Ref, place executor.Place) { m.Kill(ref, place) },
		Dir:      func(t *testing.T) string { return t.TempDir() },
		Scripted: true,
	})
	if left := m.Refs(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Everything ends with Close: a bubble in which a goroutine stays behind would panic.
func TestNothingStaysBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := fake.NewMachine(nil)
		if _, err := m.Executor().Prepare(t.Context(), executor.NewRef("o"), nil, t.Output()); err != nil {
			t.Fatal(err)
		}
		m.Close()
	})
}
