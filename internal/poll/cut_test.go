package poll

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// A proxy that waits less long than the coordinator holds requests costs neither time nor warnings.
func TestHeldRequestsThatAreCutOff(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func() (Answer, error){
		"gateway": func() (Answer, error) { return Answer{Status: http.StatusGatewayTimeout}, errors.New("504") },
		"closed":  func() (Answer, error) { return Answer{}, errors.New("unexpected EOF") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCoordinator()
				request := func(ctx context.Context, last string) (Answer, error) {
					limited, cancel := context.WithTimeout(ctx, 30*time.Second)
					defer cancel()
					a, err := c.request(limited, last)
					if err != nil && ctx.Err() == nil {
						return answer()
					}
					return a, err
				}
				b := startBench(t, Options{}, Settings{Concurrent: 1, Runners: []Runner{{Key: "a", Request: request}}})
				time.Sleep(time.Hour + time.Second)
				c.add("job")
				synctest.Wait()
				if got := b.got(); len(got) != 1 || got[0].At != time.Hour+time.Second {
					t.Errorf("picked up: %v", got)
				}
				if asked, _, _ := c.seen(); len(asked) > 300 {
					t.Errorf("%d requests in an hour", len(asked))
				}
				b.end("job")
				b.stop()
			})
		})
	}
}
