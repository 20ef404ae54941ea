package load

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"steno.dev/workers/internal/audio"
	"steno.dev/workers/internal/session"
)

const second = 16_000 * audio.BytesPerSample

// fake is a session with a server that recognises a word in each second of audio, half a second late.
type fake struct {
	events chan any
	bytes  int
	seq    uint64
	alive  int
	// silent servers never end a session.
	silent bool
	// stuck servers repeat their numbers.
	stuck  bool
	closed bool
}

func newFake() *fake {
	made := &fake{events: make(chan any, 100)}
	made.events <- session.Event{Kind: session.Started}
	return made
}

func (server *fake) Send(_ context.Context, pcm []byte) error {
	server.bytes += len(pcm)
	if server.bytes%second == 0 {
		if !server.stuck {
			server.seq++
		}
		text := session.Event{Kind: session.Partial, Seq: server.seq, Text: "word", End: server.audio()}
		time.AfterFunc(500*time.Millisecond, func() { server.events <- text })
	}
	return nil
}

func (server *fake) audio() time.Duration {
	return time.Duration(server.bytes) * time.Second / second
}

func (server *fake) KeepAlive(context.Context) error {
	server.alive++
	return nil
}

func (server *fake) Finish(context.Context) error {
	if server.silent {
		return nil
	}
	final := session.Event{Kind: session.Final, Seq: server.seq + 1, Text: "all words", End: server.audio()}
	time.AfterFunc(time.Second, func() {
		server.events <- final
		server.events <- session.Event{Kind: session.Ended, Reason: "ClientEnded"}
	})
	return nil
}

func (server *fake) Receive(ctx context.Context) (session.Event, error) {
	select {
	case got := <-server.events:
		if err, failed := got.(error); failed {
			return session.Event{}, err
		}
		return got.(session.Event), nil
	case <-ctx.Done():
		return session.Event{}, ctx.Err()
	}
}

func (server *fake) Close() error {
	server.closed = true
	return nil
}

func config(servers ...*fake) Config {
	return Config{
		Dial:   func(_ context.Context, client int) (session.Session, error) { return servers[client], nil },
		Clip:   audio.Clip{PCM: make([]byte, second*3/2+20), Rate: 16_000},
		Active: len(servers), Duration: 4*time.Second + 50*time.Millisecond, Timeout: 10 * time.Second,
		KeepAlive: time.Second, Ramp: time.Second,
	}
}

func TestClientsThatSpeakAndClientsThatDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		speaking, silent := newFake(), newFake()
		settings := config(speaking, silent)
		settings.Active, settings.Idle = 1, 1
		report, err := Run(t.Context(), settings)
		if err != nil || report.Failed() || report.Ended["ClientEnded"] != 2 {
			t.Fatalf("%+v %v", report, err)
		}
		if report.AudioSeconds != 4 || speaking.bytes != 4*second || silent.bytes != 0 || silent.alive != 4 {
			t.Errorf("%v s, %d bytes, %d signs of life", report.AudioSeconds, speaking.bytes, silent.alive)
		}
		// The last word comes after the first three; each is half a second behind its audio.
		if want := (Distribution{4, 0.5, 0.5, 0.5, 0.5}); report.PartialLag != want {
			t.Errorf("%+v", report.PartialLag)
		}
		if want := (Distribution{2, 1, 1, 1, 1}); report.End != want {
			t.Errorf("%+v", report.End)
		}
		if !speaking.closed || !silent.closed {
			t.Error("a connection was left open")
		}
	})
}

func TestWhatGoesWrongIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, lost, mute, stuck, silent := newFake(), newFake(), &fake{events: make(chan any)}, newFake(), newFake()
		refused.events <- &session.Refusal{Code: "KeyRevoked"}
		lost.events <- errors.New("connection reset")
		stuck.stuck, silent.silent = true, true
		report, err := Run(t.Context(), config(refused, lost, mute, stuck, silent))
		if err != nil || !report.Failed() {
			t.Fatal(report, err)
		}
		if want := map[string]int{"KeyRevoked": 1}; !reflect.DeepEqual(report.Refused, want) {
			t.Error(report.Refused)
		}
		want := map[string]int{
			"connection reset": 1, context.DeadlineExceeded.Error(): 1, errGivenUp.Error(): 1,
		}
		if !reflect.DeepEqual(report.Lost, want) {
			t.Error(report.Lost)
		}
		if report.Ended["ClientEnded"] != 1 || report.Disordered != 4 {
			t.Errorf("%+v", report)
		}
	})
}

func TestAnInterruptEndsEveryClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, interrupt)
		servers := []*fake{newFake(), newFake()}
		settings := config(servers...)
		settings.Ramp = 2 * time.Second // the second has not begun
		report, err := Run(ctx, settings)
		if err != nil || report.Lost["context canceled"] != 2 || !servers[0].closed {
			t.Errorf("%+v %v", report, err)
		}
	})
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no server":      func(config *Config) { config.Dial = nil },
		"no clients":     func(config *Config) { config.Active = 0 },
		"too few":        func(config *Config) { config.Active = -1 },
		"short clip":     func(config *Config) { config.Clip.PCM = make([]byte, 100) },
		"no duration":    func(config *Config) { config.Duration = 0 },
		"negative ramp":  func(config *Config) { config.Ramp = -1 },
		"never patient":  func(config *Config) { config.Timeout = 0 },
		"never a signal": func(config *Config) { config.KeepAlive = 0 },
	} {
		settings := config(newFake())
		change(&settings)
		if _, err := Run(t.Context(), settings); err == nil {
			t.Error(name)
		}
	}
}

func TestReportForPeople(t *testing.T) {
	report := summarize([]Outcome{
		{Reason: "ClientEnded", Connected: time.Second, PartialLags: []time.Duration{3, 1, 2}},
		{Refusal: "ServerFull"}, {Refusal: "ServerFull"}, {Lost: "connection reset"},
	})
	var text bytes.Buffer
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"refused                   2", "lost                      1", "connected after           1"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in\n%s", line, text.String())
		}
	}
}

func TestDistribution(t *testing.T) {
	var durations []time.Duration
	for seconds := 20; seconds > 0; seconds-- {
		durations = append(durations, time.Duration(seconds)*time.Second)
	}
	if got, want := distribution(durations), (Distribution{20, 1, 10, 19, 20}); got != want {
		t.Errorf("%+v", got)
	}
	if got := distribution(nil); got != (Distribution{}) {
		t.Errorf("%+v", got)
	}
}
