package load

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// Distribution of durations in seconds.
type Distribution struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
}

// Report of a run.
type Report struct {
	Clients int `json:"clients"`
	// Ended sessions had a last message, by its reason.
	Ended map[string]int `json:"ended"`
	// Refused sessions, by the server's code.
	Refused map[string]int `json:"refused"`
	// Lost connections, by the error.
	Lost         map[string]int `json:"lost"`
	Disordered   int            `json:"disordered"`
	Slow         int            `json:"slow"`
	Warned       int            `json:"warned"`
	AudioSeconds float64        `json:"audio_seconds"`
	Connected    Distribution   `json:"connected_seconds"`
	PartialLag   Distribution   `json:"partial_lag_seconds"`
	FinalLag     Distribution   `json:"final_lag_seconds"`
	End          Distribution   `json:"end_seconds"`
}

// Run has every client begin within the ramp, waits for all of them, and reports what they saw.
func Run(ctx context.Context, config Config) (Report, error) {
	if err := config.Validate(); err != nil {
		return Report{}, err
	}
	count := config.Active + config.Idle
	outcomes := make([]Outcome, count)
	var running sync.WaitGroup
	for client := range count {
		running.Go(func() {
			select {
			case <-time.After(config.Ramp * time.Duration(client) / time.Duration(count)):
				outcomes[client] = run(ctx, config, client)
			case <-ctx.Done():
				outcomes[client] = Outcome{Lost: ctx.Err().Error()}
			}
		})
	}
	running.Wait()
	return summarize(outcomes), nil
}

func summarize(outcomes []Outcome) Report {
	report := Report{
		Clients: len(outcomes), Ended: map[string]int{}, Refused: map[string]int{}, Lost: map[string]int{},
	}
	var connected, partials, finals, ends []time.Duration
	for _, one := range outcomes {
		switch {
		case one.Refusal != "":
			report.Refused[one.Refusal]++
		case one.Lost != "":
			report.Lost[one.Lost]++
		default:
			report.Ended[one.Reason]++
			ends = append(ends, one.Ended)
		}
		if one.Connected > 0 {
			connected = append(connected, one.Connected)
		}
		partials = append(partials, one.PartialLags...)
		finals = append(finals, one.FinalLags...)
		report.Disordered += one.Disordered
		report.Slow += one.Slow
		report.Warned += one.Warned
		report.AudioSeconds += one.Sent.Seconds()
	}
	report.Connected, report.End = distribution(connected), distribution(ends)
	report.PartialLag, report.FinalLag = distribution(partials), distribution(finals)
	return report
}

// distribution sorts what it is given. Percentiles are of the nearest rank: each is a duration that was measured.
func distribution(durations []time.Duration) Distribution {
	if len(durations) == 0 {
		return Distribution{}
	}
	slices.Sort(durations)
	rank := func(share float64) float64 {
		return durations[max(0, int(math.Ceil(share*float64(len(durations))))-1)].Seconds()
	}
	return Distribution{len(durations), rank(0), rank(0.5), rank(0.95), rank(1)}
}

// Failed tells whether a client was refused or lost, or got text in the wrong order.
func (report Report) Failed() bool {
	return len(report.Refused)+len(report.Lost)+report.Disordered > 0
}

// Write writes a report for people.
func (report Report) Write(to io.Writer) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(format string, values ...any) { _, _ = fmt.Fprintf(table, format+"\n", values...) }
	row("clients\t%d\t%.0f s of audio", report.Clients, report.AudioSeconds)
	for _, each := range []struct {
		title  string
		counts map[string]int
	}{{"ended", report.Ended}, {"refused", report.Refused}, {"lost", report.Lost}} {
		for _, name := range slices.Sorted(maps.Keys(each.counts)) {
			row("%s\t%d\t%s", each.title, each.counts[name], name)
		}
	}
	row("disordered, slow, warned\t%d, %d, %d", report.Disordered, report.Slow, report.Warned)
	for _, each := range []struct {
		title string
		found Distribution
	}{
		{"connected after", report.Connected}, {"lag of partials", report.PartialLag},
		{"lag of finals", report.FinalLag}, {"end after last audio", report.End},
	} {
		found := each.found
		row("%s\t%d\tmin %.3f  median %.3f  p95 %.3f  max %.3f s", each.title, found.Count,
			found.Min, found.Median, found.P95, found.Max)
	}
	return table.Flush()
}
