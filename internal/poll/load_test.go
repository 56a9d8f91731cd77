package poll

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestHostLoad(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"pressure": {map[string]string{
			"pressure/cpu": "some avg10=62.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n",
			"loadavg":      "0.00 0.00 0.00 1/2 3\n",
		}, 0.625},
		"no pressure": {map[string]string{"loadavg": "0.00 9.00 9.00 1/2 3\n"}, 0},
		"nothing":     {nil, 0},
		"nonsense":    {map[string]string{"pressure/cpu": "some avg10=x\n", "loadavg": "load\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range tc.files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want(t, tc.want, hostLoad(dir))
		})
	}
	want(t, 0.5, parseLoadavg([]byte("8.00 1 1"), 4))
	want(t, 0.0, parseLoadavg([]byte("3.00 1 1"), 4))
	if v := HostLoad()(); v < 0 || v > 1 {
		t.Errorf("load %v", v)
	}
}

func TestLoadDelay(t *testing.T) {
	t.Parallel()
	for load, d := range map[float64]time.Duration{-1: 0, 0: 0, 0.5: 0, 0.75: 150 * time.Millisecond, 1: 300 * time.Millisecond, 7: 300 * time.Millisecond} {
		want(t, d, loadDelay(load))
	}
}

func FuzzParseLoad(f *testing.F) {
	f.Add([]byte("some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"))
	f.Add([]byte("0.5 0.4 0.3 1/2 3\n"))
	f.Add([]byte("some avg10=NaN"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _ := parsePressure(b)
		for _, v := range []float64{p, parseLoadavg(b, 2)} {
			if math.IsNaN(v) || v < 0 || v > 1 {
				t.Errorf("load %v", v)
			}
		}
	})
}
