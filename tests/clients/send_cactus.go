// Sends the samples that tests/programs/clients.rs expects, with Debian's golang-github-cactus-go-statsd-client-dev.
// Usage: send_cactus PORT octothorpe|comma|semicolon
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/cactus/go-statsd-client/statsd"
)

var formats = map[string]statsd.TagFormat{
	"octothorpe": statsd.SuffixOctothorpe,
	"comma":      statsd.InfixComma,
	"semicolon":  statsd.InfixSemicolon,
}

func main() {
	client, err := statsd.NewClientWithConfig(&statsd.ClientConfig{
		Address: "127.0.0.1:" + os.Args[1],
		Prefix:  "shop",
		// Packs lines into datagrams of up to 1432 bytes.
		UseBuffered: true,
		TagFormat:   formats[os.Args[2]],
	})
	if err != nil {
		panic(err)
	}
	// The client draws every sampled call, so the total is known. Its line still has the rate.
	client.(*statsd.Client).SetSamplerFunc(func(float32) bool { return true })
	for order := 0; order < 100; order++ {
		region := statsd.Tag{"region", "us"}
		if order%4 == 0 {
			region = statsd.Tag{"region", "eu"}
		}
		client.Inc("orders", 1, 1, region, statsd.Tag{"env", "test"})
		client.Set("customers", fmt.Sprintf("customer-%d", order%25), 1)
		client.SetInt("numbers", int64(-order), 1)
		client.Timing("checkout", int64(order), 1)
		client.TimingDuration("steps", time.Duration(order)*time.Millisecond/2, 1)
	}
	client.Dec("orders", 3, 1)
	for view := 0; view < 10; view++ {
		client.Inc("views", 1, 0.125)
	}
	client.Gauge("stock", 40, 1)
	client.GaugeDelta("stock", -15, 1)
	client.GaugeDelta("stock", 2, 1)
	// The client means the value -7, but sends `-7`, which is a change.
	client.Gauge("balance", 3, 1)
	client.Gauge("balance", -7, 1)
	if err := client.Close(); err != nil {
		panic(err)
	}
}
