import csv
import random
from datetime import date, timedelta

draw = random.Random(1)
forms = ["%d %B %Y", "%B %d, %Y", "%b %d %Y", "%A, %d %b %Y", "%d.%m.%Y", "%m/%d/%y"]
with open("dates.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["written", "iso"])
    for _ in range(2000):
        day = date(1990, 1, 1) + timedelta(days=draw.randrange(15000))
        writer.writerow([f"due on {day.strftime(draw.choice(forms))}", day.isoformat()])
