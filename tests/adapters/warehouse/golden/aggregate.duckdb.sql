-- from DATE datetime.date(2013, 1, 1)
-- to DATE datetime.date(2013, 12, 31)
SELECT "flight_date",
  (AVG("dep_delay")),
  (CASE WHEN COUNT(*) <> 0 THEN COUNT_IF("late") / COUNT(*) ELSE NULL END)
FROM "raw"."flights"
WHERE "flight_date" BETWEEN $from AND $to
GROUP BY "flight_date"
