-- Builds the one request wrk repeats (body size as first argument) and prints what it counted as one line of JSON.
function init(args)
   local size = tonumber(args[1] or "0")
   if size > 0 then
      wrk.method = "POST"
      wrk.headers["Content-Type"] = "application/octet-stream"
      wrk.body = string.rep("x", size)
   end
end

function done(summary, latency, requests)
   local faults = summary.errors
   local quantiles = {}
   for place, percent in ipairs({50, 99, 99.9, 100}) do
      quantiles[place] = latency:percentile(percent) / 1000
   end
   io.write(string.format(
      'JSON {"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "timed_out": %d, ' ..
      '"p50_ms": %.4f, "p99_ms": %.4f, "p999_ms": %.4f, "max_ms": %.4f}\n',
      summary.requests, summary.duration, faults.status, faults.connect + faults.read + faults.write, faults.timeout,
      unpack(quantiles)))
end
